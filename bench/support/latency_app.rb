# frozen_string_literal: true

# What the Sidekiq processes of bench/latency run: a job that notes how long ago it was enqueued, by a clock that all
# processes of the machine share. Without BENCH_GEM the gem is not loaded at all.

require "json"
require "sidekiq"
require "sidekiq-assured-jobs" if ENV["BENCH_GEM"]

Sidekiq.configure_server do |config|
  config.redis = { url: ENV.fetch("REDIS_URL") }
  config.logger.level = Logger::WARN
  config.on(:startup) { Sidekiq.redis { |redis| redis.set("bench:started", 1) } }
end

class LatencyJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker if ENV["BENCH_GEM"]

  def perform(enqueued_at)
    waited = Process.clock_gettime(Process::CLOCK_MONOTONIC) - enqueued_at
    Sidekiq.redis { |redis| redis.rpush("bench:waits", waited) }
  end
end
