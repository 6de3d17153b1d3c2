# frozen_string_literal: true

# The same application with the gem, and what may stand in the way of its fetcher.

require "delegate"
require "sidekiq/fetch"
require "sidekiq/scheduled"
require_relative "app"
require_relative "fetch_jobs"

# Ends its own thread when it runs for the first time.
class ThreadKillingJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker

  def perform(key)
    Journal.start(key)
    Thread.current.kill if Sidekiq.redis { |redis| redis.hget("journal:started", key) } == "1"
    Journal.finish(key)
  end
end

class AssuredFileJob < FileJob
  include Sidekiq::AssuredJobs::Worker
end

# As ActiveJob does it: the class that Sidekiq sees runs another one.
class WrapperJob
  include Sidekiq::Worker

  def perform(key, seconds)
    PlainJob.new.perform(key, seconds)
  end
end

# What other fetchers have in common.
module CountingFetch
  def retrieve_work
    Sidekiq.redis { |redis| redis.incr("fetches") }
    super
  end
end

# A fetcher that inherits from Sidekiq's.
class InheritingFetch < Sidekiq::BasicFetch
  include CountingFetch
end

# A fetcher that has nothing to do with Sidekiq's but its duties.
class ForeignFetch < SimpleDelegator
  def initialize(options)
    super(InheritingFetch.new(options))
  end
end

# As gems do that pause queues.
module QueuesChanged
  private

  def queues_cmd
    Sidekiq.redis { |redis| redis.incr("fetches") }
    super
  end
end

# As gems do that watch what is due.
module CountingSchedule
  def enqueue_jobs(*)
    Sidekiq.redis { |redis| redis.incr("schedules") }
    super
  end
end

# An application's own scheduler.
class InheritingSchedule < Sidekiq::Scheduled::Enq
  include CountingSchedule
end

case ENV.fetch("SPEC_FETCH", nil)
when "changed schedule" then Sidekiq::Scheduled::Enq.prepend(CountingSchedule)
when "own schedule" then AnySidekiq.options[:scheduled_enq] = InheritingSchedule
when "code" then Sidekiq::AssuredJobs.configure { |config| config.fetch = false }
when "late redis"
  # Sidekiq 7 makes its own pool now, those of the capsules later.
  Sidekiq.redis(&:itself)
  Sidekiq.configure_server { |config| config.redis = { url: ENV.fetch("SPEC_LATE_URL") } }
when "capsule redis"
  Sidekiq.configure_server do |config|
    config.capsule("second") { |capsule| capsule.queues = ["second"] }.redis_pool
    config.redis = { url: ENV.fetch("SPEC_LATE_URL") }
  end
when "early"
  Sidekiq.configure_server { |config| config.default_capsule.fetcher }
when "early changed"
  Sidekiq.configure_server { |config| config.default_capsule.fetcher.extend(CountingFetch) }
when "startup"
  Sidekiq.configure_server { |config| config.on(:startup) { AnySidekiq.fetch_with(InheritingFetch) } }
when "retrieve_work" then Sidekiq::BasicFetch.prepend(CountingFetch)
when "queues_cmd" then Sidekiq::BasicFetch.prepend(QueuesChanged)
when "inheriting", "foreign"
  Sidekiq.configure_server do
    AnySidekiq.fetch_with(ENV["SPEC_FETCH"] == "foreign" ? ForeignFetch : InheritingFetch)
  end
end
