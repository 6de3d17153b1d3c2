# frozen_string_literal: true

require_relative "../faketime"
require_relative "../repeater"
require_relative "fault"

module Faults
  # A fault of one process, which is a reason for its jobs to run again.
  class ProcessFault < Fault
    # @return [String]
    attr_reader :target

    # @param target [String] name of the process
    def initialize(target)
      super()
      @target = target
    end
  end

  # SIGKILL. Undone by a successor.
  class ProcessKilled < ProcessFault
    # @param target [String]
    # @param successor [String, nil] name of the process that takes its place; none, if nil
    def initialize(target, successor: nil)
      super(target)
      @successor = successor
    end

    private

    def begin_on(world)
      world.fleet.bury(target)
    end

    def end_on(world)
      world.fleet.boot(@successor, world.server.port) if @successor
    end
  end

  # SIGTERM, as with a deploy. Undone by a successor; what has not ended until then is killed.
  class ProcessReplaced < ProcessFault
    # @param target [String]
    # @param successor [String] name of the process that takes its place
    def initialize(target, successor:)
      super(target)
      @successor = successor
    end

    private

    def begin_on(world)
      world.fleet[target].process.signal(:TERM)
    end

    def end_on(world)
      world.fleet.bury(target)
      world.fleet.boot(@successor, world.server.port)
    end
  end

  # SIGSTOP until SIGCONT, as a virtual machine that is moved, or a laptop that is closed.
  class ProcessPaused < ProcessFault
    private

    def begin_on(world)
      world.fleet[target].process.signal(:STOP)
    end

    def end_on(world)
      # It may have been killed meanwhile.
      world.fleet[target]&.process&.signal(:CONT)
    end
  end

  # The same, for so long that nothing is left in Redis of what told that it was declared dead.
  class ProcessForgotten < ProcessPaused
    private

    def end_on(world)
      verdicts = world.places.verdicts
      world.redis.del(*verdicts) unless verdicts.empty?
    rescue Redis::BaseError
      # Another fault strikes: then something may be left that tells of it.
    ensure
      super
    end
  end

  # Nothing of what one process sends arrives, nor does any answer, until the partition is over: then all of it does.
  class Partition < ProcessFault
    private

    def begin_on(world)
      world.fleet[target].proxy.black_hole
    end

    def end_on(world)
      world.fleet[target]&.proxy&.open
    end
  end

  # All connections of one process end, again and again. No reason for any job to run again.
  class ConnectionsCut < Fault
    # @param process [String]
    # @param every [Numeric] seconds
    def initialize(process, every: 0.3)
      super()
      @process = process
      @every = every
    end

    # @return [String]
    def name
      "#{super}:#{@process}"
    end

    private

    def begin_on(world)
      proxy = world.fleet[@process].proxy
      @cuts = Repeater.new do
        proxy.cut
        @every
      end
    end

    def end_on(_world)
      @cuts&.stop
    end
  end

  # Every few commands of the engine of one process meet with a mishap; Sidekiq's own do not. No reason for any job to
  # run again.
  class RoundTripsHurt < Fault
    # @param process [String]
    # @param instant [Symbol] `:before` or `:after` Redis executes the command
    # @param mishap [:cut, Numeric] the connection ends, or so many seconds pass
    # @param every [Integer] how many commands of one name make one that is struck
    def initialize(process, instant, mishap, every: 3)
      super()
      @process = process
      @rule = lambda do |step, at|
        mishap if at == instant && (step.number % every).zero? && !step.name.start_with?("sidekiq:")
      end
    end

    private

    def begin_on(world)
      world.fleet[@process].proxy.rule = @rule
    end

    def end_on(world)
      world.fleet[@process].proxy.rule = nil
    end
  end

  # The wall clock of one process jumps. It runs under libfaketime, which reads the file; its monotonic clock goes on,
  # as it does when an operator or NTP sets the time. No reason for any job to run again.
  class ClockStepped < Fault
    # @param file [String]
    # @return [Hash{String => String}] environment of a process whose clock this file sets
    def self.environment(file)
      { "LD_PRELOAD" => Faketime.library, "FAKETIME_TIMESTAMP_FILE" => file, "FAKETIME_NO_CACHE" => "1",
        "FAKETIME_DONT_FAKE_MONOTONIC" => "1", "DONT_FAKE_MONOTONIC" => "1" }
    end

    # @param file [String]
    # @param seconds [Integer]
    def initialize(file, seconds)
      super()
      @file = file
      @seconds = seconds
    end

    private

    def begin_on(_world)
      set(@seconds)
    end

    def end_on(_world)
      set(0)
    end

    # Renamed: a process that reads at this instant must not see half of it.
    def set(seconds)
      File.write("#{@file}.new", format("%+d\n", seconds))
      File.rename("#{@file}.new", @file)
    end
  end
end
