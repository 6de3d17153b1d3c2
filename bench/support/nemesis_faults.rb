# frozen_string_literal: true

require_relative "../../spec/support/faults/process_faults"
require_relative "../../spec/support/faults/redis_faults"

# The faults that a nemesis chooses from, and how one of them comes to be.
module NemesisFaults
  # The instance id whose processes have a clock of their own.
  CLOCKED = "d"
  CLOCK_STEPS = [-3600, -10, 10, 3600].freeze
  # Those that need libfaketime.
  BY_CLOCK = %w[ClockStepped RedisClockStepped].freeze
  # Name of the Redis user whom the processes are, and what an administrator may take from it.
  USER = "worker"
  PERMISSIONS = [%w[evalsha eval], %w[zadd], %w[blmove client], %w[smembers get]].freeze

  # @!attribute scope
  #   @return [Symbol] what there is one of at a time: `:redis`, or `:process` by slot
  # @!attribute ends
  #   @return [Boolean] whether it ends the process
  # @!attribute lossy
  #   @return [Boolean] whether Redis loses data that it had acknowledged
  Kind = Struct.new(:name, :scope, :ends, :lossy, :make, keyword_init: true) do
    # @return [Boolean] whether two of them at once would be in each other's way
    def rival?(other)
      scope == other.scope && ends == other.ends
    end
  end

  # What a fault is made for: the process it strikes, the name of that one's successor, the files with the clocks, and
  # a number from 0 up to 1 that decides the rest.
  Target = Struct.new(:process, :successor, :clock, :redis_clock, :draw) do
    # @param choices [Array]
    # @return [Object] one of them
    def choose(choices)
      choices[(draw * choices.size).floor]
    end
  end

  # @return [Array<Kind>]
  def self.kinds(lossy: false)
    ALL.select { |kind| (lossy || !kind.lossy) && (!BY_CLOCK.include?(kind.name) || Faketime.library) }
  end

  def self.on_process(name, ends: false, &make)
    Kind.new(name:, scope: :process, ends:, make:)
  end

  def self.on_redis(name, lossy: false, &make)
    Kind.new(name:, scope: :redis, lossy:, make:)
  end
  private_class_method :on_process, :on_redis

  ALL = [
    on_process("ProcessKilled", ends: true) { |t| Faults::ProcessKilled.new(t.process, successor: t.successor) },
    on_process("ProcessReplaced", ends: true) { |t| Faults::ProcessReplaced.new(t.process, successor: t.successor) },
    on_process("ProcessPaused") { |t| Faults::ProcessPaused.new(t.process) },
    on_process("ProcessForgotten") { |t| Faults::ProcessForgotten.new(t.process) },
    on_process("Partition") { |t| Faults::Partition.new(t.process) },
    on_process("ConnectionsCut") { |t| Faults::ConnectionsCut.new(t.process, every: 0.05 + (t.draw / 2)) },
    on_process("ClockStepped") { |t| Faults::ClockStepped.new(t.clock, t.choose(CLOCK_STEPS)) },
    on_redis("RedisKilled") { Faults::RedisKilled.new },
    on_redis("RedisFrozen") { Faults::RedisFrozen.new },
    on_redis("RedisFull") { Faults::RedisFull.new },
    on_redis("RedisReadOnly") { Faults::RedisReadOnly.new },
    on_redis("RedisBusy") { Faults::RedisBusy.new },
    on_redis("HeartbeatsEvicted") { Faults::HeartbeatsEvicted.new },
    on_redis("RedisClockStepped") { |t| Faults::RedisClockStepped.new(t.redis_clock, t.choose(CLOCK_STEPS)) },
    on_redis("ScriptsFlushed") { Faults::ScriptsFlushed.new },
    on_redis("PermissionsRevoked") do |t|
      commands = t.choose(PERMISSIONS)
      Faults::PermissionsRevoked.new(USER, commands.map { |name| "-#{name}" }, commands.map { |name| "+#{name}" })
    end,
    on_redis("RedisEmptied", lossy: true) { Faults::RedisKilled.new(empty: true) },
    on_redis("Failover", lossy: true) { Faults::Failover.new }
  ].freeze
end
