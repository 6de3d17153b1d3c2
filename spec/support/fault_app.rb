# frozen_string_literal: true

# What the Sidekiq processes of `world.rb` run. Plain Sidekiq does not load the gem at all.

require "sidekiq"
require "sidekiq-assured-jobs" unless ENV["FAULTS_WAY"] == "plain"
require_relative "any_sidekiq"
require_relative "history"

Sidekiq.configure_server do |config|
  # Without an id: redis-rb would name its connections, which an ACL may forbid.
  config.redis = { url: ENV.fetch("REDIS_URL"), id: nil }
  config.logger.level = Logger::WARN unless ENV["FAULTS_VERBOSE"]
  # A retry comes soon.
  AnySidekiq.options[:poll_interval_average] = 0.5
  # How long a shutdown waits for jobs.
  AnySidekiq.options[:timeout] = Integer(ENV.fetch("FAULTS_TIMEOUT", AnySidekiq.options[:timeout]))
end

class FaultJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker if defined?(Sidekiq::AssuredJobs::Worker)
  sidekiq_retry_in { 1 }

  # @param id [Integer] under which the run is written down
  # @param seconds [Numeric] how long it takes
  # @param manner [String] `work`; or, at the first run only, `linger` for so long, `raise` or `exit` (of the
  #   thread) after it, or `fork`
  def perform(id, seconds, manner)
    history = History.here
    manner = nil if manner != "work" && history.subjects(:started).include?(id.to_s)
    history.write(:started, id)
    fork_children(seconds) if manner == "fork"
    sleep seconds if manner
    return history.write(:finished, id) unless %w[raise exit].include?(manner)

    # An end without acknowledgement counts like an exception.
    history.write(:raised, id)
    Thread.exit if manner == "exit"
    raise "as it should"
  end

  private

  # One child that ends as programs do, with all their handlers, and one that lives on with all that it inherited.
  def fork_children(seconds)
    Process.detach(fork { exit })
    Process.detach(fork { sleep(seconds + 3) && exit! })
  end
end

# A job that is not assured, and so not in the history.
class BystanderJob
  include Sidekiq::Worker

  def perform(_id, seconds, _manner)
    sleep seconds
  end
end
