# frozen_string_literal: true

require_relative "../support/ecosystem_helpers"

RSpec.describe "An application with gems that many have beside Sidekiq" do
  include EcosystemHelpers

  before(:context) do
    skip "ECOSYSTEM_PATH names no lib folders of such gems, with colons between" unless ENV.key?("ECOSYSTEM_PATH")
  end

  # What a gem leaves that has been at work.
  traces = {
    "cron" => ->(spec) { spec.finished.key?("cron") },
    "status" => ->(spec) { spec.statuses == ["complete"] },
    "failures" => ->(spec) { spec.redis.zcard("failed").positive? },
    "batch" => ->(spec) { spec.finished.keys.grep(/batch/).size == EcosystemHelpers::KILLS },
    "limit_fetch" => ->(spec) { spec.redis.keys("limit_fetch:*").any? },
    "grouping" => ->(spec) { spec.redis.keys("batching:*").any? },
    "scheduler" => ->(spec) { spec.finished.key?("scheduler") },
    "alive" => ->(spec) { spec.redis.keys("SIDEKIQ::LIVENESS_PROBE_TIMESTAMP::*").any? }
  }

  # Who fetches: what the log calls it, and its units of work.
  assured = ["assured fetch", /\ASidekiq::AssuredJobs::Fetcher::UnitOfWork\z/]
  others = {
    "limit_fetch" => ["Sidekiq::LimitFetch fetches the jobs", /\ASidekiq::LimitFetch::/],
    # Version 1 and later change Sidekiq's own fetcher.
    "throttled" => if Ecosystem.file?("sidekiq/throttled/fetch")
                     ["Sidekiq::Throttled::Fetch fetches the jobs", /\ASidekiq::Throttled::/]
                   else
                     ["another gem changes how Sidekiq fetches", /\ASidekiq::BasicFetch::/]
                   end
  }.transform_values { |reason, unit| ["the middleware, because #{reason}", unit] }

  def statuses
    redis.scan_each(match: "sidekiq:status:*").map { |key| redis.hget(key, "status") }.uniq
  end

  def wait_until_at_work(traces)
    traces.each do |name, trace|
      wait_until("#{name} has been at work\n#{processes.last.log}", within: 30) { trace.call(self) }
    end
  end

  def told(process)
    process.log.scan(/AssuredJobs: jobs .*tracked by (.*)/).flatten
  end

  def units
    redis.hkeys("journal:units")
  end

  define_method(:survive) do |gems, first: false|
    way, unit = others.find { |name, _| gems.include?(name) }&.last || assured
    in_hand = kill_and_replace(gems, first:, anytime: way == assured.first) do |victim|
      expect(told(victim)).to eq([way])
    end
    settle
    wait_until_at_work(traces.slice(*gems))

    expect(units).to all(match(unit))
    expect([redis.zcard("dead"), unexplained(in_hand)]).to eq([0, []])
  end

  Ecosystem::FILES.each do |name, file|
    it "loses no job of 500 in five kills, and says how they are tracked (#{file} alone)" do
      skip "ECOSYSTEM_PATH does not lead to #{file}" unless Ecosystem.file?(file)

      survive([name])
    end
  end

  { "after" => false, "before" => true }.each do |order, first|
    it "loses no job of 500 in five kills with all of them together, required #{order} ours" do
      survive(Ecosystem.present, first:)
    end

    it "is tracked by assured fetch with all that bring no fetcher, required #{order} ours" do
      survive(Ecosystem.present - %w[limit_fetch throttled], first:)
    end
  end
end
