# frozen_string_literal: true

require_relative "../support/fetch_helpers"

# Gems set a fetcher, or put one around the one that is there, when Sidekiq makes its threads, or while they run.
RSpec.describe "The way in where another fetcher comes late", :fetch do
  assured = "jobs are tracked by assured fetch"
  by_middleware = "jobs are tracked by the middleware, because"

  def boot(late, **env)
    start_app(env: { "SPEC_LATE_FETCH" => late }.merge(env))
  end

  def told(process)
    process.log.scan(/AssuredJobs: (jobs .*are tracked by.*)/).flatten
  end

  def run_one(key = "a")
    push("AssuredJob", key, 0)
    wait_until("#{key} has run") { finished.key?(key) }
    wait_until("nothing is in flight") { in_flight.empty? }
  end

  def fetches
    redis.get("fetches").to_i
  end

  {
    "inheriting" => "InheritingFetch fetches the jobs",
    "other" => "OtherFetch fetches the jobs",
    "changed" => "another gem changes how Sidekiq fetches",
    "processor" => "a changed Sidekiq::Processor fetches the jobs"
  }.each do |late, reason|
    it "is the middleware, and the log names who fetches (#{late})" do
      process = spawn_sidekiq(app: FetchHelpers::APP, env: { "SPEC_LATE_FETCH" => late })
      run_one

      expect(told(process)).to eq(["#{by_middleware} #{reason}"])
      expect(fetches).to be_positive
    end
  end

  it "is told without any job" do
    expect(told(boot("inheriting"))).to eq(["#{by_middleware} InheritingFetch fetches the jobs"])
  end

  %w[wrapping prepended].each do |late|
    it "is assured fetch where the other one asks ours (#{late})" do
      process = boot(late)
      run_one

      expect(told(process)).to eq([assured])
      expect(fetches).to be_positive
      expect(stock_fetches).to eq(0)
    end
  end

  it "is assured fetch where Sidekiq's own was set again" do
    process = boot("stock")
    run_one

    expect(told(process)).to eq([assured])
    expect(stock_fetches).to eq(0)
  end

  context "when something is put around each of our units of work" do
    it "is assured fetch, and each job is in flight once" do
      process = boot("unit wrapping")
      push("AssuredJob", "long", 1)
      wait_until("it runs") { started.key?("long") }
      expect(in_flight.size).to eq(1)

      run_one("short")
      wait_until("both are acknowledged") { redis.get("acknowledged") == "2" }
      expect(started).to eq("long" => 1, "short" => 1)
      expect(told(process)).to eq([assured])
    end

    it "brings a killed process's job back once" do
      victim = boot("unit wrapping")
      push("AssuredJob", "long", 2)
      wait_until("it runs") { started.key?("long") }
      victim.kill
      boot("unit wrapping")

      wait_until("it is finished", within: 30) { finished.key?("long") }
      wait_until("nothing is in flight") { in_flight.empty? }
      expect(started).to eq("long" => 2)
      expect(redis.llen("queue:default")).to eq(0)
    end
  end

  it "is told again when the fetcher is replaced while the process runs" do
    process = start_app
    run_one
    push("ReplacingJob")
    wait_until("the log names the other one\n#{process.log}") { told(process).size == 2 }
    wait_until("the old fetcher has brought what it was asked for") do
      run_one("b#{fetches}")
      fetches > 5
    end

    expect(told(process)).to eq([assured, "#{by_middleware} InheritingFetch fetches the jobs"])
  end

  it "is told of each capsule where they differ", skip: !AnySidekiq::SEVEN && "Sidekiq 6 has none" do
    process = spawn_sidekiq(app: File.expand_path("../support/capsules_late_app.rb", __dir__),
                            env: { "SPEC_LATE_FETCH" => "inheriting", "SPEC_LATE_CAPSULE" => "second" })
    wait_until("both capsules are known\n#{process.log}") { told(process).size == 2 }

    expect(told(process)).to contain_exactly(
      "jobs of capsule default are tracked by assured fetch",
      "jobs of capsule second are tracked by the middleware, because InheritingFetch fetches the jobs"
    )
  end

  it "leaves what is unfinished at a hard shutdown in its queue once" do
    process = spawn_sidekiq(app: FetchHelpers::APP, args: ["-c", "2", "-t", "1"],
                            env: { "SPEC_LATE_FETCH" => "unit wrapping" })
    push("AssuredJob", "long", 60)
    wait_until("it runs") { started.key?("long") }
    process.signal(:TERM)
    process.wait_for_exit

    expect(queued.map { |job| job["args"] }).to eq([["long", 60]])
    expect(in_flight).to be_empty
  end
end
