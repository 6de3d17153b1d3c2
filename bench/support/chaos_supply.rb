# frozen_string_literal: true

require "json"

# Keeps the queue of a chaos run filled, so that all threads are busy at each kill.
class ChaosSupply
  QUEUE = "queue:default"
  LEAST = 200
  SLICE = 200
  # Milliseconds that a job takes at most.
  LONGEST = 30
  # One in so many jobs raises at its first run.
  RAISING = 10

  # @return [Array<Integer>] the jobs that were enqueued
  attr_reader :ids

  # @param record [String] name of an in-flight record, which begins with the jid
  # @return [Integer]
  def self.id(record)
    record[0, 24].hex
  end

  # @param redis [Redis]
  # @param random [Random]
  # @param flagged [Boolean] whether the payloads carry the flag of assured jobs, which one that was pushed by the
  #   name of its class lacks
  def initialize(redis, random, flagged: true)
    @redis = redis
    @random = random
    @flag = flagged ? { assured_jobs: true } : {}
    @ids = []
    redis.sadd("queues", ["default"])
  end

  # @return [void]
  def top_up
    return if @redis.llen(QUEUE) >= LEAST

    ids = Array.new(SLICE) { |n| @ids.size + n }
    @redis.lpush(QUEUE, ids.map { |id| payload(id) })
    @ids.concat(ids)
  end

  private

  def payload(id)
    now = Time.now.to_f
    JSON.generate(
      retry: true, queue: "default", class: "ChaosJob",
      args: [id, @random.rand(LONGEST + 1), @random.rand(RAISING).zero?],
      jid: format("%024x", id), created_at: now, enqueued_at: now, **@flag
    )
  end
end
