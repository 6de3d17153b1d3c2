# frozen_string_literal: true

# An application with the gems of ECOSYSTEM_GEMS, set up as their READMEs say.

require "sidekiq"
require_relative "ecosystem"
require_relative "any_sidekiq"

# With what the gems fork.
Process.setpgrp if Sidekiq.server?

AnySidekiq.options[:cron_poll_interval] = 1
# Popping a group and pushing it are two steps; the client of the spec does that, which nobody kills.
AnySidekiq.options[:grouping] = { poll_interval: 3600 }
AnySidekiq.options[:limits] = { "default" => 1000 }

Ecosystem.load if ENV["ECOSYSTEM_FIRST"]
require_relative "app"
Ecosystem.load

# Writes down which kind of fetcher the jobs come from. No part of the gem takes part in that.
module UnitJournal
  private

  def process(work)
    Sidekiq.redis { |redis| redis.hincrby("journal:units", work.class.name, 1) }
    super
  end
end

Sidekiq.configure_server do
  require "sidekiq/processor"
  Sidekiq::Processor.prepend(UnitJournal)
end

# Jobs that go on while there is a key `hold`.
class EcosystemJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker

  # Seconds that a job takes.
  TIME = 0.03

  # @param key [Integer] one in ten raises at its first run
  def perform(key)
    Journal.start(key)
    EcosystemJob.count("running") { sleep TIME }
    raise "as it should" if (key % 10).zero? && first_run?(key)

    EcosystemJob.wait
    Journal.finish(key)
  end

  # @param what [String] what is so many times the case in this process
  def self.count(what)
    Sidekiq.redis { |redis| redis.incr("#{what}:#{Process.pid}") }
    yield
  ensure
    Sidekiq.redis { |redis| redis.decr("#{what}:#{Process.pid}") }
  end

  def self.wait
    held = -> { Sidekiq.redis { |redis| redis.get("hold") } }
    count("held") { sleep 0.02 while held.call } if held.call
  end

  private

  def first_run?(key)
    Sidekiq.redis { |redis| redis.hget("journal:started", key.to_s) } == "1"
  end
end

# What a timer pushes.
class TickJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker

  def perform(timer)
    Journal.finish(timer)
  end
end

if Ecosystem.with?("status")
  EcosystemJob.include(Sidekiq::Status::Worker)
  Sidekiq.configure_client { |config| Sidekiq::Status.configure_client_middleware(config, expiration: 1800) }
  Sidekiq.configure_server do |config|
    Sidekiq::Status.configure_server_middleware(config, expiration: 1800)
    Sidekiq::Status.configure_client_middleware(config, expiration: 1800)
  end
end

if Ecosystem.with?("batch")
  # Jobs of that gem, which run the callbacks.
  Sidekiq::Batch::Callback::Worker.include(Sidekiq::AssuredJobs::Worker)

  class BatchCallback
    def on_success(_status, options)
      Journal.finish(options.fetch("batch"))
    end
  end
end

if Ecosystem.with?("throttled")
  Sidekiq::Throttled.setup! if Sidekiq::Throttled.respond_to?(:setup!)
  EcosystemJob.include(Sidekiq::Throttled::Job)
  # All threads of three processes, and what a killed one held.
  EcosystemJob.sidekiq_throttle(concurrency: { limit: 20 })
end

if Ecosystem.with?("grouping")
  # Runs what were several jobs.
  class GroupedJob
    include Sidekiq::Worker
    include Sidekiq::AssuredJobs::Worker

    sidekiq_options batch_flush_size: Ecosystem::SLICE / 2, batch_size: 5

    def perform(group)
      group.each { |(key)| Journal.start(key) }
      EcosystemJob.count("running") { sleep EcosystemJob::TIME }
      EcosystemJob.wait
      group.each { |(key)| Journal.finish(key) }
    end
  end
end

if Ecosystem.with?("cron")
  Sidekiq.configure_server do |config|
    config.on(:startup) do
      Sidekiq::Cron::Job.create(name: "tick", cron: "* * * * * *", class: "TickJob", args: ["cron"])
    end
  end
end

if Ecosystem.with?("scheduler")
  Sidekiq.configure_server do |config|
    config.on(:startup) do
      Sidekiq.schedule = { "tick" => { "every" => "1s", "class" => "TickJob", "args" => ["scheduler"] } }
      SidekiqScheduler::Scheduler.instance.reload_schedule!
    end
  end
end

SidekiqAlive.start if Ecosystem.with?("alive")
