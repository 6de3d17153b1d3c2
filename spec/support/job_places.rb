# frozen_string_literal: true

require "json"

# Where the assured jobs of a {World} lie in Redis. Jobs are named by their first argument.
class JobPlaces
  PREFIX = "sidekiq_assured_jobs"
  # What outlives the processes: what is known since ever, and the turn to look, which ends by itself.
  LASTING = %w[stats epoch assured_classes look_turn].map { |name| "#{PREFIX}:#{name}" }.freeze

  # @yieldreturn [Redis]
  def initialize(&redis)
    @redis = redis
  end

  # @return [Array<String>] jobs that are queued
  def queued
    ids(redis.lrange("queue:default", 0, -1))
  end

  # @return [Array<String>] jobs that will run yet, or run
  def pending
    waiting = %w[retry schedule].flat_map { |set| redis.zrange(set, 0, -1) }
    queued + ids(waiting) + ids(payloads_in_flight)
  end

  # @return [Array<String>] jobs in Sidekiq's Dead set
  def dead
    ids(redis.zrange("dead", 0, -1))
  end

  # @return [Array<String>] names of the in-flight records of all instances
  def in_flight
    redis.keys("#{PREFIX}:jobs:*").flat_map { |key| redis.smembers(key) }
  end

  # @return [Array<String>] keys of the gem, but for those that are to stay, and for verdicts, which wait for instances
  #   that may live after all
  def own_keys
    redis.keys("#{PREFIX}:*") - verdicts - LASTING
  end

  # @return [Array<String>] keys that tell which instances were declared dead
  def verdicts
    redis.keys("#{PREFIX}:verdict:*")
  end

  # Sidekiq adds up to ten seconds to each retry; nobody needs to wait for them.
  #
  # @return [void]
  def make_retries_due
    due = redis.zrangebyscore("retry", "(0", "+inf")
    redis.zadd("retry", due.map { |payload| [0, payload] }, xx: true) unless due.empty?
  end

  private

  def redis
    @redis.call
  end

  def payloads_in_flight
    names = in_flight
    names.empty? ? [] : redis.mget(names.map { |name| "#{PREFIX}:job:#{name}" }).compact
  end

  def ids(payloads)
    jobs = payloads.map { |payload| JSON.parse(payload) }
    jobs.select { |job| job["assured_jobs"] }.map { |job| job["args"].first.to_s }
  end
end
