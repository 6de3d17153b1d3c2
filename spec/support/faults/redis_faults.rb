# frozen_string_literal: true

require_relative "../repeater"
require_relative "fault"
require_relative "process_faults"

module Faults
  # SIGKILL; undone by a start on the same port. With an append-only file that is synced always nothing is lost.
  class RedisKilled < Fault
    # @return [String]
    attr_reader :target

    # @param empty [Boolean] whether it comes back without its data
    def initialize(empty: false)
      super()
      @empty = empty
      @target = empty ? History::EVERYBODY : History::NOBODY
    end

    # @return [String]
    def name
      @empty ? "RedisEmptied" : super
    end

    private

    def begin_on(world)
      world.server.stop
    end

    def end_on(world)
      world.server.forget if @empty
      world.server.start
    end
  end

  # SIGSTOP: connections stay open and nobody answers, as with a host that swaps.
  class RedisFrozen < Fault
    private

    def begin_on(world)
      Process.kill(:STOP, world.server.pid)
    end

    def end_on(world)
      Process.kill(:CONT, world.server.pid)
    end
  end

  # A replica that lacks the last writes takes the place of its master: it is cut off when the fault strikes, and
  # the master is killed when the fault is undone. What was acknowledged in between is lost.
  class Failover < Fault
    # @return [String]
    def target
      History::EVERYBODY
    end

    # Starts a replica and waits until it has everything.
    #
    # @param world [World]
    # @return [void]
    def prepare(world)
      # It would wait for more replicas to come.
      world.redis.config(:set, "repl-diskless-sync-delay", 0)
      @replica = world.add_server
      client = Redis.new(url: @replica.url)
      client.replicaof("127.0.0.1", world.server.port)
      Wait.wait_until("the replica follows") { client.info["master_link_status"] == "up" }
      # Counts replicas that have everything up to now.
      Wait.wait_until("the replica has everything") { world.redis.call("WAIT", 1, 1000) == 1 }
    ensure
      client&.close
    end

    private

    def begin_on(_world)
      client = Redis.new(url: @replica.url)
      client.replicaof("no", "one")
      client.close
    end

    def end_on(world)
      world.server.stop
      world.lead_to(@replica)
    end
  end

  # `maxmemory` is reached and nothing may be evicted.
  class RedisFull < Fault
    private

    def begin_on(world)
      world.redis.config(:set, "maxmemory", 1)
    end

    def end_on(world)
      world.redis.config(:set, "maxmemory", 0)
    end
  end

  # The master was demoted: it answers, and refuses every write. It keeps its data, since its new master does not exist.
  class RedisReadOnly < Fault
    private

    def begin_on(world)
      world.redis.replicaof("127.0.0.1", 1)
    end

    def end_on(world)
      world.redis.replicaof("no", "one")
    end
  end

  # Somebody's script does not end: the server answers BUSY to everybody.
  class RedisBusy < Fault
    private

    def begin_on(world)
      world.redis.config(:set, "lua-time-limit", 20)
      @thread = Thread.new { hog(world.server.url) }
    end

    def end_on(world)
      Wait.wait_until("the script was killed") { kill_script(world.redis) }
      @thread.join
    end

    def hog(url)
      client = Redis.new(url:, reconnect_attempts: 0, read_timeout: 600)
      client.eval("while true do end")
    rescue Redis::BaseError
      # Killed.
    ensure
      client&.close
    end

    def kill_script(redis)
      redis.script(:kill)
    rescue Redis::CommandError
      # It has not begun yet, or has ended.
      !@thread.alive?
    end
  end

  # Somebody does something to Redis, again and again.
  class Repeated < Fault
    # @param every [Numeric] seconds
    def initialize(every:)
      super()
      @every = every
    end

    private

    def begin_on(world)
      @client = Redis.new(url: world.server.url)
      @strikes = Repeater.new do
        again(@client)
        @every
      end
    end

    def end_on(_world)
      @strikes&.stop
      @client&.close
    end
  end

  # Somebody flushes the scripts.
  class ScriptsFlushed < Repeated
    def initialize(every: 0.002)
      super
    end

    private

    def again(client)
      client.script(:flush)
    end
  end

  # A Redis that is full evicts what expires, and takes heartbeats first. No reason for any job to run again.
  class HeartbeatsEvicted < Repeated
    def initialize(every: 0.02)
      super
    end

    private

    def again(client)
      keys = client.keys("#{JobPlaces::PREFIX}:instance:*")
      client.del(*keys) unless keys.empty?
    end
  end

  # The wall clock of the server jumps: what expires does so at once, or not for long. It runs under libfaketime, see
  # {ClockStepped}. No reason for any job to run again.
  class RedisClockStepped < ClockStepped
    # The server's own allocator asks for the time before the library can answer.
    #
    # @param file [String]
    # @return [Hash{String => String}] environment of a redis-server whose clock this file sets
    def self.environment(file)
      super.merge("LD_PRELOAD" => "#{Faketime.library} libc.so.6")
    end
  end

  # An administrator takes permissions away, and gives them back.
  class PermissionsRevoked < Fault
    # @param user [String]
    # @param rules [Array<String>] such as `-evalsha`
    # @param undo [Array<String>] such as `+evalsha`
    def initialize(user, rules, undo)
      super()
      @user = user
      @rules = rules
      @undo = undo
    end

    private

    def begin_on(world)
      world.redis.call("ACL", "SETUSER", @user, *@rules)
    end

    def end_on(world)
      world.redis.call("ACL", "SETUSER", @user, *@undo)
    end
  end
end
