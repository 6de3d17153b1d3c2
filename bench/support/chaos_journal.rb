# frozen_string_literal: true

require "redis"

# What the jobs of a chaos run write down, outside the processes that get killed. Each process has a name, so that it
# can be told afterwards what it had in hand.
class ChaosJournal
  # Apart from Sidekiq's database.
  DB = 1

  class << self
    # The journal of a job's own process, with a connection for each thread.
    #
    # @return [ChaosJournal]
    def here
      Thread.current[:chaos_journal] ||= new(ENV.fetch("CHAOS_JOURNAL"), ENV.fetch("CHAOS_PROCESS"))
    end
  end

  # @param url [String]
  # @param process [String, nil] name of the writing process
  def initialize(url, process = nil)
    @redis = Redis.new(url:)
    @process = process
  end

  # @param id [Integer] of the job
  # @return [Integer] how many times it has started by now
  def started(id)
    write("started", id)
  end

  # @param id [Integer]
  # @return [void]
  def raised(id)
    write("raised", id)
  end

  # @param id [Integer]
  # @return [void]
  def finished(id)
    write("finished", id)
  end

  # @return [Hash{Integer => Integer}] how many times each job has done this
  def counts(what)
    @redis.hgetall(what).to_h { |id, times| [id.to_i, times.to_i] }
  end

  # @return [Boolean] whether a process has begun to work
  def working?(process)
    @redis.exists?("#{process}:started")
  end

  # @return [Array<Integer>] jobs that a process has started and not ended
  def running(process)
    (list("#{process}:started") - list("#{process}:raised") - list("#{process}:finished")).map(&:to_i)
  end

  # @return [void]
  def close
    @redis.close
  end

  private

  def write(what, id)
    times, = @redis.multi do |transaction|
      transaction.hincrby(what, id, 1)
      transaction.rpush("#{@process}:#{what}", id)
    end
    times
  end

  def list(key)
    @redis.lrange(key, 0, -1)
  end
end
