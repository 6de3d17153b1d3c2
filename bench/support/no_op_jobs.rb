# frozen_string_literal: true

# Fills queues with jobs of no_op_app.rb, many at a time.
class NoOpJobs
  SLICE = 5_000

  # @param redis [Redis]
  # @param assured [Boolean] whether the payloads carry the flag of an assured class
  # @param queues [Hash{String => Integer}] names and shares of the jobs
  # @param job_class [String]
  def initialize(redis, assured:, queues: { "default" => 1 }, job_class: "NoOpJob")
    @redis = redis
    @flag = assured ? { assured_jobs: true } : {}
    @turns = queues.flat_map { |queue, share| [queue] * share }
    @job_class = job_class
    @pushed = 0
    redis.sadd("queues", queues.keys)
  end

  # @return [Integer] how many were pushed so far
  attr_reader :pushed

  # @param count [Integer]
  # @return [void]
  def push(count)
    count.times.each_slice(SLICE) do |slice|
      jobs = slice.map { |i| [@turns[i % @turns.size], i] }.group_by(&:first)
      jobs.each { |queue, of_queue| @redis.lpush("queue:#{queue}", of_queue.map { payload(queue) }) }
    end
  end

  private

  def payload(queue)
    now = Time.now.to_f
    jid = format("%024x", @pushed += 1)
    JSON.generate(
      { retry: true, queue:, class: @job_class, args: [@pushed], jid:, created_at: now, enqueued_at: now }.merge(@flag)
    )
  end
end
