# frozen_string_literal: true

# What the Sidekiq processes of the benchmarks run: jobs that do nothing but count themselves. Without
# BENCH_GEM the gem is not loaded at all.

require "json"
require "sidekiq"
require "sidekiq-assured-jobs" if ENV["BENCH_GEM"]

# Some pairs of Sidekiq and redis-rb warn at every fetch, which would be measured, too.
Redis.silence_deprecations = true if Redis.respond_to?(:silence_deprecations=)

Sidekiq.configure_server do |config|
  config.redis = { url: ENV.fetch("REDIS_URL") }
  # Sidekiq writes two lines per job otherwise, which would hide most of what is measured.
  config.logger.level = Logger::WARN unless ENV["BENCH_LOG"]
end

# Notes time and processor time of this process at the first and the last counted job.
module Count
  FIRST = ENV.fetch("BENCH_FIRST", "0").to_i
  LAST = ENV.fetch("BENCH_LAST", "0").to_i
  @done = 0

  class << self
    # No lock: threads switch at method calls and loops, and `+=` on an Integer has neither.
    def add
      done = (@done += 1)
      case done
      when FIRST then @first = clocks
      when LAST then report(clocks)
      end
    end

    private

    def clocks
      [Process::CLOCK_MONOTONIC, Process::CLOCK_PROCESS_CPUTIME_ID].map { |clock| Process.clock_gettime(clock) }
    end

    def report(last)
      seconds, cpu = last.zip(@first).map { |after, before| after - before }
      Sidekiq.redis { |redis| redis.set("bench:result", JSON.generate(seconds:, cpu:)) }
    end
  end
end

class NoOpJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker if ENV["BENCH_GEM"] == "assured"

  def perform(*)
    Count.add
  end
end
