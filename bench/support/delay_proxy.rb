# frozen_string_literal: true

# Stands between Sidekiq and Redis like a network: every reply arrives so many milliseconds later. Each
# connection has a queue of replies with the time when they are due, so replies that follow each other closely wait side
# by side, not one after the other. Writes "ready" and its port; at the end of its standard input it reports the share
# of a processor that it used.

require "json"
require "socket"

# One connection of a client, and its counterpart to Redis.
class Connection
  attr_reader :client, :redis

  def initialize(client, redis, delay)
    @client = client
    @redis = redis
    @delay = delay
    @replies = []
    [client, redis].each { |socket| socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1) }
  end

  def due_at
    @replies.first&.first
  end

  # @return [Boolean] false at the end of the connection
  def receive(socket, now)
    bytes = socket.read_nonblock(1 << 16, exception: false)
    case bytes
    when :wait_readable then true
    when nil then close
    else
      socket.equal?(@client) ? @redis.write(bytes) : @replies << [now + @delay, bytes]
      true
    end
  rescue IOError, SystemCallError
    close
  end

  # @return [Boolean] false at the end of the connection
  def deliver(now)
    @client.write(@replies.shift.last) while @replies.any? && due_at <= now
    true
  rescue IOError, SystemCallError
    close
  end

  private

  def close
    @replies.clear
    [@client, @redis].each(&:close)
    false
  end
end

# All connections, in one thread: the proxy must not be what is measured.
class DelayProxy
  def initialize(target, delay)
    @target = target
    @delay = delay
    @server = TCPServer.new("127.0.0.1", 0)
    @connections = {}
  end

  def port
    @server.addr[1]
  end

  def run
    until (ready = wait)&.include?($stdin)
      now = clock
      ready&.each { |socket| receive(socket, now) }
      deliver(clock)
    end
  end

  private

  def clock
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end

  def wait
    due = @connections.each_value.filter_map(&:due_at).min
    IO.select([$stdin, @server, *@connections.keys], nil, nil, due && [due - clock, 0].max)&.first
  end

  def accept
    connection = Connection.new(@server.accept, TCPSocket.new("127.0.0.1", @target), @delay)
    @connections[connection.client] = @connections[connection.redis] = connection
  end

  def receive(socket, now)
    return accept if socket.equal?(@server)

    connection = @connections[socket]
    drop(connection) if connection && !connection.receive(socket, now)
  end

  def deliver(now)
    due = @connections.each_value.select { |connection| connection.due_at&.<=(now) }
    due.each { |connection| drop(connection) unless connection.deliver(now) }
  end

  def drop(connection)
    @connections.delete_if { |_, each| each.equal?(connection) }
  end
end

proxy = DelayProxy.new(Integer(ARGV.fetch(0)), Float(ARGV.fetch(1)) / 1000)
$stdout.sync = true
puts "ready", proxy.port
before = Process.clock_gettime(Process::CLOCK_MONOTONIC)
cpu = Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID)
proxy.run
seconds = Process.clock_gettime(Process::CLOCK_MONOTONIC) - before
puts JSON.generate(busy: (Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID) - cpu) / seconds)
