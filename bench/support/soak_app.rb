# frozen_string_literal: true

# What the Sidekiq processes of bench/soak run: jobs that do nothing but use a processor.

require "sidekiq"
require "sidekiq-assured-jobs"

Redis.sadd_returns_boolean = false
Sidekiq.configure_server { |config| config.redis = { url: ENV.fetch("REDIS_URL") } }
# Two log lines per job would be all that the verdicts are searched in.
Sidekiq.options[:job_logger] = Class.new do
  def prepare(*)
    yield
  end

  def call(*)
    yield
  end
end

class BusyJob
  include Sidekiq::Job
  include Sidekiq::AssuredJobs::Worker

  SECONDS = 0.5

  def perform(number)
    Sidekiq.redis { |redis| redis.hincrby("bench:runs", number.to_s, 1) }
    until_then = clock + SECONDS
    count = 0
    count += 1 while clock < until_then
  end

  private

  # Processor time of the thread: however many share the processors, each job is as long.
  def clock
    Process.clock_gettime(Process::CLOCK_THREAD_CPUTIME_ID)
  end
end
