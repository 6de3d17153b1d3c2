# frozen_string_literal: true

require_relative "job_history"
require_relative "journal"

# Reads from Redis how things stand. What it reports is what happened there, not what the demo did.
class Observer
  attr_reader :jobs

  # @param instances [Array<Instance>]
  def initialize(instances)
    @instances = instances
    @jobs = []
    @by_jid = {}
    @entries = 0
  end

  # @param job [JobHistory]
  # @return [void]
  def watch(job)
    @jobs << job
    @by_jid[job.jid] = job
  end

  # @return [void]
  def look
    Sidekiq::AssuredJobs.redis_sync do |redis|
      entries = Journal.read(redis, @entries)
      @entries += entries.size
      entries.each { |entry| @by_jid.fetch(entry[:jid]).add(entry) }
      @instances.each { |instance| look_at(instance, redis) }
      look_into_queue(redis)
    end
    status = Sidekiq::AssuredJobs.get_instances_status
    @instances.each { |instance| instance.status = status[instance.name] }
  end

  # @return [Integer]
  def queued
    @queued.to_i
  end

  # @return [Integer]
  def finished
    jobs.count(&:finished?)
  end

  private

  def look_at(instance, redis)
    jids = redis.smembers(key("jobs:#{instance.name}"))
    instance.in_flight = jids.filter_map { |jid| @by_jid[jid] }.sort_by(&:number)
    milliseconds = redis.pttl(key("instance:#{instance.name}"))
    instance.heartbeat_left = milliseconds / 1000.0 if milliseconds
  end

  def look_into_queue(redis)
    payloads = redis.lrange("queue:#{ENV.fetch("ASSURED_JOBS_NS")}", 0, -1).map { |json| JSON.parse(json) }
    @queued = payloads.size
    payloads.each { |job| @by_jid.fetch(job["jid"]).see(job["assured_recoveries"], job["enqueued_at"]) }
  end

  def key(name)
    Sidekiq::AssuredJobs.namespaced_key(name)
  end
end
