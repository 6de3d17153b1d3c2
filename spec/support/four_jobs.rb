# frozen_string_literal: true

require "json"

# Four jobs that between them take every step of a job's life: one simply runs, one raises and is retried, one is an
# orphan that has to be recovered, and one has to be pushed back when its process stops.
class FourJobs
  # By id.
  MANNERS = %w[succeed raise orphan last].freeze
  PREFIX = "sidekiq_assured_jobs"

  # @param redis [Redis]
  def initialize(redis)
    @redis = redis
  end

  # @return [void]
  def supply
    MANNERS.each_with_index do |manner, id|
      next leave_orphan(id) if manner == "orphan"

      @redis.lpush("queue:default", payload(id))
    end
  end

  # Sidekiq adds up to ten seconds to each retry; nobody needs to wait for them.
  #
  # @return [Boolean] whether there are any
  def make_retries_due
    due = @redis.zrange("retry", 0, -1)
    @redis.zadd("retry", due.map { |payload| [0, payload] }, xx: true) unless due.empty?
    due.any?
  end

  # @return [Boolean] whether no job is on its way
  def at_rest?
    @redis.llen("queue:default").zero? && @redis.zcard("retry").zero? && @redis.keys("#{PREFIX}:jobs:*").empty?
  end

  private

  def leave_orphan(id)
    @redis.multi do |transaction|
      transaction.hset("#{PREFIX}:instances", "dead", JSON.generate(version: "2.0.0"))
      transaction.set("#{PREFIX}:job:#{jid(id)}", payload(id))
      transaction.sadd("#{PREFIX}:jobs:dead", [jid(id)])
    end
  end

  def payload(id)
    now = Time.now.to_f
    JSON.generate(retry: true, queue: "default", class: "EveryStepJob", args: [id, MANNERS[id]], jid: jid(id),
                  created_at: now, enqueued_at: now, assured_jobs: true)
  end

  def jid(id)
    format("%024x", id)
  end
end
