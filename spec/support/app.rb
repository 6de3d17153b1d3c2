# frozen_string_literal: true

# What the Sidekiq processes of the specs run. Each job writes down when it starts and when it ends.

require "sidekiq"
require "sidekiq-assured-jobs"
require_relative "any_sidekiq"
require_relative "journal"

Sidekiq.configure_client { |config| config.redis = { url: ENV.fetch("REDIS_URL") } }
Sidekiq.configure_server do |config|
  config.redis = { url: ENV.fetch("REDIS_URL") }
  AnySidekiq.options[:poll_interval_average] = ENV["SPEC_POLL"].to_f if ENV["SPEC_POLL"]
end

class AssuredJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker

  # @param key [Object] under which the run is written down
  # @param seconds [Numeric] how long it takes
  def perform(key, seconds)
    Journal.start(key)
    sleep seconds
    Journal.finish(key)
  end
end

class PlainJob
  include Sidekiq::Worker

  def perform(key, seconds)
    Journal.start(key)
    sleep seconds
    Journal.finish(key)
  end
end

class FailingJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker

  def perform(key)
    Journal.start(key)
    raise "as it should"
  end
end

# Runs another job within itself.
class OuterJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker

  def perform(inner, seconds)
    Journal.start("outer")
    job = { "class" => "AssuredJob", "args" => [inner, seconds], "jid" => SecureRandom.hex(12), "assured_jobs" => true }
    worker = AssuredJob.new
    # What perform_inline does, which Sidekiq has since 6.4.2.
    AnySidekiq.server_middleware.invoke(worker, job, "default") { worker.perform(*job["args"]) }
    Journal.finish("outer")
  end
end

# Holds the interpreter's lock in one native call.
class LockHoldingJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker

  # A heartbeat as a Ruby thread would send it, to show what it is worth meanwhile.
  def perform(key, seconds, control_ttl_ms)
    require "redis"
    Journal.start(key)
    beat = Redis.new(url: ENV.fetch("REDIS_URL"))
    control = Thread.new do
      loop do
        beat.set("control:beat", 1, px: control_ttl_ms)
        sleep control_ttl_ms / 3000.0
      end
    end
    Thread.pass until beat.exists?("control:beat")
    hold_lock(seconds)
    control.kill
    Journal.finish(key)
  end

  private

  # Fiddle releases the lock unless it is told that the function needs it.
  def hold_lock(seconds)
    require "fiddle"
    sleep = Fiddle::Function.new(Fiddle.dlopen(nil)["sleep"], [Fiddle::TYPE_INT], Fiddle::TYPE_INT, need_gvl: true)
    sleep.call(seconds.ceil)
  end
end
