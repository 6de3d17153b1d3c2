# frozen_string_literal: true

require "redis"
require_relative "../../spec/support/redis_server"
require_relative "chaos_journal"
require_relative "chaos_process"
require_relative "chaos_result"
require_relative "chaos_supply"

# Sidekiq processes under load, killed at random instants and replaced at once, and what became of their jobs.
class Chaos
  PROCESSES = 2
  # A process works at most so many seconds before it is killed.
  LIFE = 1.0
  # How long nothing may happen before all is taken to be settled, in seconds.
  CALM = 1.0

  # How jobs come to be in flight. Plain Sidekiq is the negative control.
  WAYS = {
    "fetch" => {},
    "middleware" => { "ASSURED_JOBS_FETCH" => "false" },
    "plain" => { "CHAOS_WAY" => "plain" }
  }.freeze

  # @param way [String] key of {WAYS}
  # @param kills [Integer]
  # @param seed [Integer] decides the instants; the machine decides the rest
  # @param flagged [Boolean] whether the payloads carry the flag of assured jobs
  # @param gems [Hash{Symbol => Array<String>}] other gems of the application: `load_path`, and what to `require`
  def initialize(way:, kills:, seed:, flagged: true, gems: {})
    @way = way
    @kills = kills
    @seed = seed
    @flagged = flagged
    @env = WAYS.fetch(way).merge(ChaosProcess.gems(**gems))
    @in_hand = Hash.new(0)
    @told = Hash.new(0)
    @mutex = Mutex.new
  end

  # @return [ChaosResult]
  def run
    began = now
    @server = RedisServer.new
    @redis = Redis.new(url: @server.url)
    @journal = ChaosJournal.new(@server.url(ChaosJournal::DB))
    @supply = ChaosSupply.new(@redis, Random.new(@seed), flagged: @flagged)
    kill_and_replace
    settle
    result(now - began)
  ensure
    @redis&.close
    @server&.remove
  end

  private

  def kill_and_replace
    tickets = Queue.new
    @kills.times { |ticket| tickets << ticket }
    tickets.close
    slots = Array.new(PROCESSES) { |slot| Thread.new { serve_slot(slot, tickets) } }
    Wait.wait_until("#{@kills} kills", within: 60 + (@kills * 10)) do
      @supply.top_up
      slots.none?(&:alive?)
    end
    slots.each(&:join)
  ensure
    Array(slots).each(&:kill).each(&:join)
  end

  def serve_slot(slot, tickets)
    # One that is shared would draw in the order in which the processes happen to boot.
    random = Random.new((@seed * PROCESSES) + slot)
    while (ticket = tickets.pop)
      in_hand = live_and_die("#{slot}-#{ticket}", random.rand(LIFE))
      @mutex.synchronize { in_hand.each { |id| @in_hand[id] += 1 } }
    end
  end

  def live_and_die(name, life)
    process = ChaosProcess.new(name, @server, @env)
    process.wait_until_working
    @mutex.synchronize { @told[process.told] += 1 }
    # The instant of the kill; nothing is waited for.
    sleep life
    process.kill
    process.in_hand
  ensure
    process&.close
  end

  # Lets processes that nobody kills finish what is left.
  def settle
    processes = Array.new(PROCESSES) { |slot| ChaosProcess.new("calm-#{slot}", @server, @env) }
    calm_since = nil
    Wait.wait_until("everything is settled", within: 60) do
      make_retries_due
      calm_since = nil unless at_rest? && processes.all?(&:idle?)
      calm_since ||= now
      now - calm_since > CALM
    end
  ensure
    processes&.each(&:close)
  end

  # Sidekiq adds up to ten seconds to each retry; nobody needs to wait for them.
  def make_retries_due
    due = @redis.zrangebyscore("retry", "(0", "+inf")
    @redis.zadd("retry", due.map { |payload| [0, payload] }, xx: true) unless due.empty?
  end

  def at_rest?
    @redis.llen(ChaosSupply::QUEUE).zero? && @redis.zcard("retry").zero? &&
      @redis.keys("sidekiq_assured_jobs:jobs:*").empty?
  end

  def result(seconds)
    lost = @supply.ids - @journal.counts("finished").keys
    again = ran_again
    ChaosResult.new(
      way: @way, kills: @kills, enqueued: @supply.ids.size, finished: @supply.ids.size - lost.size, lost: lost.size,
      lost_retries: (lost & @journal.counts("raised").keys).size, twice: again.values.sum,
      in_hand: @in_hand.values.sum, unexplained: again.select { |id, times| times > @in_hand[id] }.keys, told: @told,
      seconds:
    )
  end

  # @return [Hash{Integer => Integer}] runs beyond the first that no exception explains, by job
  def ran_again
    raised = @journal.counts("raised")
    @journal.counts("started").to_h { |id, times| [id, times - 1 - raised.fetch(id, 0)] }
            .select { |_, times| times.positive? }
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
