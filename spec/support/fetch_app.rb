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

# A fetcher that asks the one that was there.
class WrappingFetch < SimpleDelegator
  include CountingFetch

  def retrieve_work
    Sidekiq.redis { |redis| redis.incr("fetches") }
    __getobj__.retrieve_work
  end
end

# Puts something of its own around each unit of work, too.
class UnitWrappingFetch < WrappingFetch
  Unit = Struct.new(:queue, :job) do
    def queue_name
      queue.delete_prefix("queue:")
    end

    def acknowledge
      Sidekiq.redis { |redis| redis.incr("acknowledged") }
    end
  end

  def retrieve_work
    work = super
    Unit.new(work.queue, work.job) if work
  end
end

# Takes the place of a fetcher's method, and looks like that fetcher.
module OtherFetch
  def retrieve_work
    Sidekiq.redis { |redis| redis.incr("fetches") }
    Sidekiq::BasicFetch.instance_method(:retrieve_work).bind_call(self)
  end
end

# What a gem does when Sidekiq makes its threads, which is after the start. It says itself what.
module LateFetch
  CHANGES = {
    "inheriting" => ->(place) { place.set(InheritingFetch) },
    "stock" => ->(place) { place.set(Sidekiq::BasicFetch) },
    "wrapping" => ->(place) { place.wrap(WrappingFetch) },
    "unit wrapping" => ->(place) { place.wrap(UnitWrappingFetch) },
    "prepended" => ->(_) { Sidekiq::AssuredJobs::Fetcher.prepend(CountingFetch) },
    "other" => ->(_) { Sidekiq::AssuredJobs::Fetcher.prepend(OtherFetch) },
    "changed" => ->(_) { Sidekiq::BasicFetch.prepend(CountingFetch) },
    "processor" => ->(_) { Sidekiq::Processor.prepend(OwnFetch) }
  }.freeze

  # Fetches without a fetcher.
  module OwnFetch
    private

    def get_one # rubocop:disable Naming/AccessorMethodName -- Sidekiq's
      Sidekiq.redis { |redis| redis.incr("fetches") }
      @own_fetch ||= Sidekiq::BasicFetch.new(AnySidekiq::SEVEN ? capsule : AnySidekiq.options)
      @own_fetch.retrieve_work
    end
  end

  # Where a manager of Sidekiq finds its fetcher.
  Place = Struct.new(:source) do
    def set(fetcher)
      AnySidekiq::SEVEN ? capsule_fetches_with(fetcher.new(source)) : AnySidekiq.fetch_with(fetcher)
    end

    def wrap(wrapper)
      return capsule_fetches_with(wrapper.new(source.fetcher)) if AnySidekiq::SEVEN

      AnySidekiq.options[:fetch] = wrapper.new(AnySidekiq.options[:fetch])
    end

    def capsule_fetches_with(fetcher)
      source.instance_variable_set(:@fetcher, fetcher)
    end
  end

  def initialize(source, *)
    late = ENV.fetch("SPEC_LATE_FETCH")
    capsule = ENV.fetch("SPEC_LATE_CAPSULE", nil)
    CHANGES.fetch(late).call(Place.new(source)) if !capsule || source.name == capsule
    super
  end
end

if ENV.key?("SPEC_LATE_FETCH")
  require "sidekiq/manager"
  Sidekiq::Manager.prepend(LateFetch)
end

# Gives all threads of its process another fetcher.
class ReplacingJob
  include Sidekiq::Worker

  def perform
    ObjectSpace.each_object(Sidekiq::Processor) do |processor|
      if AnySidekiq::SEVEN
        processor.capsule.instance_variable_set(:@fetcher, InheritingFetch.new(processor.capsule))
      else
        processor.instance_variable_set(:@strategy, InheritingFetch.new(AnySidekiq.options))
      end
    end
    Journal.finish("replaced")
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
