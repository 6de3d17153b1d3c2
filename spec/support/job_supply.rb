# frozen_string_literal: true

require "json"
require "redis"

# Pushes jobs into the queue of a {World}, and writes down which of them Redis has accepted.
class JobSupply
  # Seconds that a job takes at most.
  LONGEST = 0.2

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
    push_all(Array.new(count) { [@random.rand * longest, manner] })
  end

  # @param seconds [Numeric] exactly
  # @return [Array<String>] ids of the jobs
  def push_long(count, seconds, manner: "linger")
    push_all([[seconds, manner]] * count)
  end

  # Keeps the queue filled, until {#stop}. Jobs that Redis does not accept are dropped, as a web request drops them.
  #
  # @param least [Integer] jobs that are queued
  # @param raising [Integer] one in so many jobs raises at its first run
  # @return [void]
  def run(least: 20, raising: 20)
    @thread = Thread.new do
      loop { keep_filled(least, raising) }
    end
    @thread.report_on_exception = false
  end

  # @return [void]
  def stop
    @thread&.kill&.join
    @thread = nil
    @redis&.close
    @redis = nil
  end

  private

  def keep_filled(least, raising)
    # Of its own: the world's may be waiting for a server that is away.
    @redis ||= Redis.new(url: @world.server.url, id: nil, reconnect_attempts: 0, timeout: 1)
    if @redis.llen("queue:default") < least
      jobs = Array.new(least) { [@random.rand * LONGEST, @random.rand(raising).zero? ? "raise" : "work"] }
      push_all(jobs, @redis)
    end
  rescue Redis::BaseError, SystemCallError
    @redis&.close
    @redis = nil
  ensure
    sleep 0.02
  end

  def push_all(jobs, redis = @world.redis)
    ids = @mutex.synchronize { Array.new(jobs.size) { |n| @next_id + n }.tap { @next_id += jobs.size } }
    ids.each { |id| @world.history.write(:offered, id) }
    redis.lpush("queue:default", ids.zip(jobs).map { |id, job| payload(id, *job) })
    ids.each { |id| @world.history.write(:accepted, id) }
    ids.map(&:to_s)
  end

  def payload(id, seconds, manner)
    now = Time.now.to_f
    JSON.generate(retry: true, queue: "default", class: "FaultJob", args: [id, seconds, manner],
                  jid: format("%024x", id), created_at: now, enqueued_at: now, assured_jobs: true)
  end
end
