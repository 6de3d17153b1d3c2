# frozen_string_literal: true

require "json"
require "redis"
require_relative "repeater"

# Pushes jobs, and writes down which of them Redis has accepted: jobs for the queue of a {World}, and scheduled ones.
class JobSupply
  # Seconds that a job takes at most.
  LONGEST = 0.2

  # `delay` is in how many seconds it is due; nil for at once. `retries` is what Sidekiq's payload has for `retry`.
  # A job that is not assured is written down by nobody.
  Job = Struct.new(:seconds, :manner, :delay, :retries, :assured, keyword_init: true) do
    def initialize(retries: true, assured: true, **members)
      super
    end
  end

  # @return [Integer] id of the job that is pushed next
  attr_reader :next_id

  # @param world [World]
  # @param random [Random]
  def initialize(world, random = Random.new)
    @world = world
    @random = random
    @next_id = 0
    @mutex = Mutex.new
  end

  # @param count [Integer]
  # @param longest [Numeric] seconds
  # @param manner [String] see `fault_app.rb`
  # @return [Array<String>] ids of the jobs
  def push(count, longest: LONGEST, manner: "work")
    push_all(Array.new(count) { Job.new(seconds: @random.rand * longest, manner:) })
  end

  # @param seconds [Numeric] exactly
  # @return [Array<String>] ids of the jobs
  def push_long(count, seconds, manner: "linger")
    push_all(Array.new(count) { Job.new(seconds:, manner:) })
  end

  # Keeps the queue filled, until {#stop}. Jobs that Redis does not accept are dropped, as a web request drops them.
  #
  # @param least [Integer] jobs that are queued
  # @param pause [Float] seconds at most from one look at the queue to the next; on average half of it
  # @yieldreturn [Job] short ones, of which one in twenty raises at its first run, without a block
  # @return [void]
  def run(least: 20, pause: 0.04, &draw)
    draw ||= -> { Job.new(seconds: @random.rand * LONGEST, manner: @random.rand(20).zero? ? "raise" : "work") }
    @filler = Repeater.new do
      keep_filled(least, draw)
      @random.rand * pause
    end
  end

  # @return [void]
  def stop
    @filler&.stop
    @filler = nil
    @redis&.close
    @redis = nil
  end

  private

  def keep_filled(least, draw)
    # Of its own: the world's may be waiting for a server that is away, and would repeat a push without an answer.
    @redis ||= Redis.new(url: @world.server.url, id: nil, reconnect_attempts: 0, timeout: 1)
    push_all(Array.new(least) { draw.call }, @redis) if @redis.llen("queue:default") < least
  rescue Redis::BaseError, SystemCallError
    @redis&.close
    @redis = nil
  end

  def push_all(jobs, redis = @world.redis)
    jobs = number(jobs)
    later, now = jobs.partition { |_, job| job.delay }
    offer(now) { |payloads| redis.lpush("queue:default", payloads) }
    offer(later) do |payloads|
      redis.zadd("schedule", later.map { |_, job| Time.now.to_f + job.delay }.zip(payloads))
    end
    jobs.keys.map(&:to_s)
  end

  # @return [Hash{Integer => Job}] by id
  def number(jobs)
    first = @mutex.synchronize { @next_id.tap { @next_id += jobs.size } }
    jobs.each_with_index.to_h { |job, index| [first + index, job] }
  end

  def offer(jobs)
    return if jobs.empty?

    ids = jobs.select { |_, job| job.assured }.map(&:first)
    ids.each { |id| @world.history.write(:offered, id) }
    yield(jobs.map { |id, job| payload(id, job) })
    ids.each { |id| @world.history.write(:accepted, id) }
  end

  def payload(id, job)
    now = Time.now.to_f
    payload = { retry: job.retries, queue: "default", class: job.assured ? "FaultJob" : "BystanderJob",
                args: [id, job.seconds, job.manner], jid: format("%024x", id), created_at: now }
    payload[:enqueued_at] = now unless job.delay
    payload[:assured_jobs] = true if job.assured
    JSON.generate(payload)
  end
end
