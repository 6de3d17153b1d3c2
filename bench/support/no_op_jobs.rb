# frozen_string_literal: true

# Fills a queue with no-op jobs, many at a time.
class NoOpJobs
  SLICE = 5_000

  # @param redis [Redis]
  # @param assured [Boolean] whether the payloads carry the flag of an assured class
  def initialize(redis, assured:)
    @redis = redis
    @flag = assured ? { assured_jobs: true } : {}
    @pushed = 0
    redis.sadd("queues", ["default"])
  end

  # @return [Integer] how many were pushed so far
  attr_reader :pushed

  # @param count [Integer]
  # @return [void]
  def push(count)
    count.times.each_slice(SLICE) do |slice|
      @redis.lpush("queue:default", slice.map { payload })
    end
  end

  private

  def payload
    now = Time.now.to_f
    jid = format("%024x", @pushed += 1)
    JSON.generate(
      { retry: true, queue: "default", class: "NoOpJob", args: [@pushed], jid:, created_at: now, enqueued_at: now }
        .merge(@flag)
    )
  end
end
