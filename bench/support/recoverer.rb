# frozen_string_literal: true

# The process that recovers: says when it is ready, waits for a line, recovers, and reports.

require "json"
require "sidekiq"
require "sidekiq-assured-jobs"

class PassingMiddleware
  def call(*)
    yield
  end
end

Sidekiq.configure_client do |config|
  config.redis = { url: ENV.fetch("REDIS_URL") }
  config.logger.level = Logger::ERROR
  config.client_middleware { |chain| chain.add(PassingMiddleware) } if ENV["BENCH_MIDDLEWARE"]
end

# Connects now, so that this is not part of the measurement.
Sidekiq.redis(&:ping)
$stdout.sync = true
puts "ready"
$stdin.gets
before = Process.clock_gettime(Process::CLOCK_MONOTONIC)
recovered = Sidekiq::AssuredJobs.reenqueue_orphans!
seconds = Process.clock_gettime(Process::CLOCK_MONOTONIC) - before
# Wall clock, as in the payloads, whose `enqueued_at` tells when the first job was queued again.
cpu = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID)
puts JSON.generate(recovered:, seconds:, cpu:, ended_at: Time.now.to_f)
