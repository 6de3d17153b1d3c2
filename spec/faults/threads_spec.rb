# frozen_string_literal: true

require "tempfile"
require_relative "../support/few_threads"
require_relative "../support/fetch_helpers"

RSpec.describe "A process that may have few threads" do
  let(:args) { ["-c", "5", "-q", "default", "-q", "other"] }

  # @return [Integer] how many threads Sidekiq has by itself, the first one aside
  let(:needed) do
    seen = Tempfile.new("seen")
    plain = spawn_sidekiq(app: FetchHelpers::PLAIN_APP, args:, env: FewThreads.env(seen: seen.path))
    run_jobs(plain)
    plain.kill
    File.read(seen.path).to_i
  end

  # @return [SidekiqProcess] with so many threads more than Sidekiq needs
  def start_with(more)
    env = FewThreads.env(most: needed + more)
    spawn_sidekiq(app: FetchHelpers::APP, args:, env:).tap { |process| run_jobs(process) }
  end

  def run_jobs(process)
    redis.del("journal:echo")
    20.times { |n| push("EchoJob", n, queue: %w[default other][n % 2]) }
    wait_until("all jobs have run", within: 30) do
      raise "it ended:\n#{process.log}" unless process.alive?

      redis.llen("journal:echo") == 20
    end
  end

  def in_order(process)
    process.signal(:TERM)
    expect(process.wait_for_exit).to be_success
    expect(process.log).not_to match(/panicked|ThreadError|can't create Thread|this is a bug/)
  end

  it "boots where Sidekiq does, runs jobs as Sidekiq does, and says once what is lacking" do
    process = start_with(0)

    expect(process.log.scan("cannot start: Sidekiq::AssuredJobs::OutOfThreads").size).to eq(1)
    expect(process.log).to include("by the middleware, because the operating system gives no more threads")
    expect(registered).to be_empty
    in_order(process)
  end

  it "does without what it can do without, and finds the jobs of all queues" do
    process = start_with(9)

    expect(process.log).to match(/gives no more threads: \d of 10 that fetch are there/)
    expect(process.log).to include("jobs are tracked by assured fetch")
    expect(registered.size).to eq(1)
    in_order(process)
  end

  (1..4).map { |step| step * 4 }.each do |more|
    it "boots with room for #{more} threads more" do
      in_order(start_with(more))
    end
  end
end
