# frozen_string_literal: true

# What the processes of `one_life.rb` run. Their scheduler looks when it is told to by a signal, where Sidekiq's would
# wait for seconds.

require "sidekiq"
require "sidekiq/scheduled"
require "sidekiq-assured-jobs"
require_relative "any_sidekiq"
require_relative "../../bench/support/chaos_journal"

looks, signals = IO.pipe
trap("USR1") { signals.write(".") }

Sidekiq.configure_server do |config|
  config.redis = { url: ENV.fetch("REDIS_URL"), reconnect_attempts: 0 }
  # A stop pushes back at once.
  AnySidekiq.options[:timeout] = 0
  config.on(:startup) do
    # Chosen at the end of the startup.
    Thread.new { (scheduler ||= AnySidekiq.scheduler).enqueue_jobs while looks.getc }
  end
end

class EveryStepJob
  include Sidekiq::Worker
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
