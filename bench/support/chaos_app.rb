# frozen_string_literal: true

# What the Sidekiq processes of a chaos run do. Plain Sidekiq does not load the gem at all.

require "sidekiq"
require "sidekiq-assured-jobs" unless ENV["CHAOS_WAY"] == "plain"
require_relative "../../spec/support/any_sidekiq"
require_relative "chaos_journal"

# Other gems of the application.
ENV.fetch("CHAOS_LOAD_PATH", "").split(":").reverse_each { |path| $LOAD_PATH.unshift(path) }
ENV.fetch("CHAOS_REQUIRE", "").split(",").each { |file| require file }

# Some pairs of Sidekiq and redis-rb warn at every fetch.
Redis.silence_deprecations = true if Redis.respond_to?(:silence_deprecations=)

Sidekiq.configure_server do |config|
  config.redis = { url: ENV.fetch("REDIS_URL") }
  config.logger.level = Logger::WARN
  # A retry comes soon.
  AnySidekiq.options[:poll_interval_average] = 0.5
end

unless ENV["CHAOS_WAY"] == "plain"
  # What it says of the way in is no warning.
  Sidekiq::AssuredJobs.configure { |config| config.logger = Logger.new($stdout) }
end

class ChaosJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker if defined?(Sidekiq::AssuredJobs::Worker)
  sidekiq_retry_in { 1 }

  # @param id [Integer] under which the run is written down
  # @param milliseconds [Integer] how long it takes
  # @param raises [Boolean] whether the first run raises
  def perform(id, milliseconds, raises)
    journal = ChaosJournal.here
    first = journal.started(id) == 1
    sleep milliseconds / 1000.0
    return journal.finished(id) unless raises && first

    journal.raised(id)
    raise "as it should"
  end
end
