# frozen_string_literal: true

# What the Sidekiq processes of the benchmarks run: jobs that do nothing but count themselves. Without
# BENCH_GEM the gem is not loaded at all.

require "json"
require "sidekiq"
require "sidekiq-assured-jobs" if ENV["BENCH_GEM"]
require_relative "../../spec/support/any_sidekiq"

# Some pairs of Sidekiq and redis-rb warn at every fetch, which would be measured, too.
Redis.silence_deprecations = true if defined?(Redis) && Redis.respond_to?(:silence_deprecations=)

Sidekiq.configure_server do |config|
  config.redis = { url: ENV.fetch("REDIS_URL") }
  # Sidekiq writes two lines per job otherwise, which would hide most of what is measured.
  config.logger.level = Logger::WARN unless ENV["BENCH_LOG"]
end

# Notes time, processor time of this process and what Redis counts at the first and the last counted job.
module Count
  FIRST = ENV.fetch("BENCH_FIRST", "0").to_i
  LAST = ENV.fetch("BENCH_LAST", "0").to_i
  @done = 0

  class << self
    # No lock: threads switch at method calls and loops, and `+=` on an Integer has neither.
    def add
      done = (@done += 1)
      case done
      when FIRST then @first = note
      when LAST then report(note)
      end
    end

    private

    def note
      clocks = { seconds: Process::CLOCK_MONOTONIC, cpu: Process::CLOCK_PROCESS_CPUTIME_ID }
      figures = clocks.transform_values { |clock| Process.clock_gettime(clock) }
      info = Sidekiq.redis(&:info)
      figures.merge(
        redis_cpu: info["used_cpu_user"].to_f + info["used_cpu_sys"].to_f,
        commands: info["total_commands_processed"].to_i, reads: info["total_reads_processed"].to_i
      )
    end

    def report(last)
      figures = last.to_h { |name, after| [name, after - @first.fetch(name)] }
      figures[:fetcher] = AnySidekiq.fetcher_name
      Sidekiq.redis { |redis| redis.set("bench:result", JSON.generate(figures)) }
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

# A job that waits for something else, as most do.
class MillisecondJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker if ENV["BENCH_GEM"] == "assured"

  def perform(*)
    sleep 0.001
    Count.add
  end
end
