# frozen_string_literal: true

require "fileutils"
require "redis"
require "tempfile"
require_relative "fleet"
require_relative "history"
require_relative "history_check"
require_relative "job_places"
require_relative "job_supply"
require_relative "redis_server"
require_relative "wait"

# A Redis, Sidekiq processes and a supply of jobs, for faults to strike; and the history that results.
#
#   world = World.new(%w[a b]).start
#   world.supply.run
#   world.suffer(Faults::ProcessPaused.new("a"), seconds: 4)
#   world.settle
#   puts world.check
#   world.close
class World
  # @return [RedisServer] the one that holds the truth at the moment
  attr_reader :server
  # @return [Fleet]
  attr_reader :fleet
  # @return [History]
  attr_reader :history
  # @return [JobPlaces]
  attr_reader :places
  # @return [JobSupply]
  attr_reader :supply

  # @param names [Array<String>] of the processes
  # @param redis [Array<String>] options of the Redis
  # @param redis_env [Hash{String => String}] its environment
  # @param options [Hash] see {Fleet#initialize}
  def initialize(names, redis: [], redis_env: {}, **options)
    @names = names
    @options = redis
    @redis_env = redis_env
    @file = Tempfile.new("history")
    @history = History.new(@file.path, "world")
    @fleet = Fleet.new(@history, **options)
    @places = JobPlaces.new { self.redis }
    @supply = JobSupply.new(self)
    @servers = [@server = RedisServer.new(*redis, env: redis_env)]
  end

  # Boots all processes.
  #
  # @return [self]
  def start
    @names.each { |name| fleet.boot(name, server.port) }
    fleet.names.each { |name| fleet.wait_until_registered(name, redis) }
    self
  end

  # @return [RedisServer] another one like the first, which ends with this world
  def add_server
    RedisServer.new(*@options, env: @redis_env).tap { |server| @servers << server }
  end

  # Leads everybody to another Redis.
  #
  # @param server [RedisServer]
  # @return [void]
  def lead_to(server)
    @redis&.close
    @redis = nil
    @server = server
    fleet.lead_to(server.port)
  end

  # @return [Redis] a connection past all proxies
  def redis
    @redis ||= Redis.new(url: server.url, id: nil)
  end

  # Injects a fault for a while.
  #
  # @param fault [Faults::Fault]
  # @param seconds [Numeric] how long it lasts at least
  # @yield while it lasts
  # @return [void]
  def suffer(fault, seconds: 0)
    over_at = now + seconds
    fault.strike(self)
    yield if block_given?
    # The length of the fault; nothing is waited for.
    sleep [over_at - now, 0].max
  ensure
    fault.undo(self)
  end

  # Waits until no job is on its way, or until nothing happens any more.
  #
  # @return [void]
  def settle(within: 60)
    supply.stop
    state = calm_since = nil
    Wait.wait_until("all is settled\n#{fleet.logs}", within:) do
      places.make_retries_due
      before = state
      state = [places.pending, history.events.size]
      calm_since = now unless state == before && check.running(fleet.names).empty?
      done? || now - calm_since > calm
    end
  end

  # The history is asked first: a job on its way from its queue to its record is in no place, and one that has ended is
  # in flight until it is released.
  #
  # @return [Boolean] whether no accepted job will run any more
  def done?
    check.unfinished.empty? && places.pending.empty?
  end

  # Waits until each process has finished a job that was pushed after this call.
  #
  # @return [void]
  def expect_work(names = fleet.names, within: 20)
    first = supply.next_id
    Wait.wait_until("#{names.join(" and ")} work\n#{fleet.logs}", within:) do
      supply.push(names.size * Fleet::THREADS, longest: 0.05) if places.queued.empty?
      names.all? { |name| history.subjects(:finished, name).any? { |id| id.to_i >= first } }
    end
  end

  # @return [HistoryCheck]
  def check
    HistoryCheck.new(history.events, pending: places.pending, dead: places.dead)
  end

  # Saves the evidence.
  #
  # @param folder [String]
  # @return [String] the folder
  def keep(folder)
    FileUtils.mkdir_p(folder)
    FileUtils.cp(history.path, File.join(folder, "history"))
    fleet.keep_logs(folder)
    folder
  end

  # @return [void]
  def close
    supply.stop
    fleet.close
    @redis&.close
    @servers.each(&:remove)
    history.close
    @file.close!
  end

  private

  # How long nothing may happen, with no job running, before one that has not ended counts as stuck, in seconds.
  def calm
    fleet.ttl + fleet.interval + 2
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
