# frozen_string_literal: true

# What the demo's Sidekiq processes run.

require "sidekiq"
require "sidekiq-assured-jobs"
require_relative "../spec/support/any_sidekiq"
require_relative "journal"

# A job that takes a while.
class DemoJob
  include Sidekiq::Job
  include Sidekiq::AssuredJobs::Worker

  sidekiq_options queue: ENV.fetch("ASSURED_JOBS_NS"), retry: false

  def perform(_number, seconds)
    sleep seconds
  end
end

# Writes down each run of a job, with what recovery left in the payload.
class WriteDown
  def call(_job, payload, _queue)
    Journal.write("started", payload)
    yield
    Journal.write("finished", payload)
  end
end

# With REDIS_URL there may be scheduled jobs of somebody else, which are not for these processes to move.
class NothingScheduled
  def initialize(*); end

  def enqueue_jobs; end

  def terminate; end
end

Sidekiq.configure_server do |config|
  config.redis = { url: ENV.fetch("REDIS_URL") }
  AnySidekiq.options[:scheduled_enq] = NothingScheduled
  config.server_middleware { |chain| chain.add WriteDown }
end
