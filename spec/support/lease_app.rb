# frozen_string_literal: true

require_relative "app"

# Jobs that live on after their process was taken for dead. Each run writes down its token and waits to be let go.
module Zombie
  module_function

  # @return [Boolean] whether the lease was lost meanwhile
  def live(key, job)
    Journal.start(key)
    Journal.write("token:#{key}", job.assured_token)
    sleep 0.02 until job.lease_lost? || free?(key)
    job.lease_lost?
  end

  def free?(key)
    !Sidekiq.redis { |redis| redis.get("free:#{key}") }.nil?
  end
end

class ZombieJob
  include Sidekiq::Job
  include Sidekiq::AssuredJobs::Worker

  # @param key [String] under which the run is written down
  # @param ending [String] how a run ends whose lease is lost
  def perform(key, ending)
    if Zombie.live(key, self)
      Journal.write("lost", key)
      case ending
      when "checkpoint" then checkpoint!
      when "raise" then raise "a zombie's last words"
      end
    end
    checkpoint!
    Journal.finish(key)
  end
end

# Ends before any heartbeat has told that the lease is lost.
class BlindZombieJob
  include Sidekiq::Job
  include Sidekiq::AssuredJobs::Worker

  def perform(key)
    Journal.start(key)
    sleep 0.001 until Zombie.free?(key)
    Journal.write("lost", key) if lease_lost?
    raise "a zombie's last words"
  end
end

class FlakyJob
  include Sidekiq::Job
  include Sidekiq::AssuredJobs::Worker
  sidekiq_retry_in { 1 }

  def perform(key)
    Journal.write("token:#{key}", assured_token)
    Journal.start(key)
    raise "the first time" unless assured_token.end_with?(":2")

    Journal.finish(key)
  end
end

if ENV["SPEC_ACTIVE_JOB"]
  require "active_job"
  ActiveJob::Base.queue_adapter = :sidekiq
  ActiveJob::Base.logger = nil

  class ZombieActiveJob < ActiveJob::Base
    include Sidekiq::AssuredJobs::Worker
    retry_on StandardError, wait: 0

    def perform(key)
      return Journal.finish(key) unless Zombie.live(key, self)

      Journal.write("lost", key)
      checkpoint!
    end
  end
end
