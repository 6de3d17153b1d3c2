# frozen_string_literal: true

# What the processes of `one_life.rb` run. Their scheduler looks when it is told to by a signal, where Sidekiq's would
# wait for seconds.

require "sidekiq"
require "sidekiq/scheduled"
require "sidekiq-assured-jobs"
require_relative "../../bench/support/chaos_journal"

# Sidekiq 6.4 uses `sadd` in a way that redis-rb 4.8 warns about, at every push.
Redis.sadd_returns_boolean = false

looks, signals = IO.pipe
trap("USR1") { signals.write(".") }

Sidekiq.configure_server do |config|
  config.redis = { url: ENV.fetch("REDIS_URL"), reconnect_attempts: 0 }
  # A stop pushes back at once.
  config.options[:timeout] = 0
  config.on(:startup) do
    scheduler = (config.options[:scheduled_enq] || Sidekiq::Scheduled::Enq).new
    Thread.new { scheduler.enqueue_jobs while looks.getc }
  end
end

class EveryStepJob
  include Sidekiq::Job
  include Sidekiq::AssuredJobs::Worker

  # Longer than the first process lives, in seconds.
  LONG = ENV["CHAOS_PROCESS"] == "victim" ? 60 : 0

  # @param id [Integer] under which the run is written down
  # @param manner [String] how it ends
  def perform(id, manner)
    journal = ChaosJournal.here
    first = journal.started(id) == 1
    if first && manner == "raise"
      journal.raised(id)
      raise "as it should"
    end
    sleep LONG if manner == "last"
    journal.finished(id)
  end
end
