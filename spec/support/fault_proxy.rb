# frozen_string_literal: true

require "socket"
require_relative "command_name"
require_relative "resp"

# Stands between clients and Redis, and does to them what networks do: cuts, delays and black holes, at any command,
# before Redis executes it or after. Each connection waits for the reply to a command before it passes on the next
# one, so that there is such an instant for every command of a batch.
class FaultProxy
  # A command, named by its connection and by what it does; the number, from 1 on, tells those of one name apart.
  Step = Struct.new(:name, :number) do
    # @return [String]
    def to_s
      "#{name} ##{number}"
    end
  end

  # @param target [Integer] port of the Redis
  # @yieldparam step [Step]
  # @yieldparam instant [Symbol] `:before` or `:after` Redis executes the command
  # @yieldreturn [:cut, Numeric, nil] ends the connection, or delays by so many seconds
  def initialize(target, &rule)
    @target = target
    @rule = rule
    @mutex = Mutex.new
    @opened = ConditionVariable.new
    @sockets = []
    @counts = Hash.new(0)
    @server = TCPServer.new("127.0.0.1", 0)
    @threads = [Thread.new { accept }]
  end

  # @return [Integer]
  def port
    @server.addr[1]
  end

  # @return [String]
  def url(database = 0)
    "redis://127.0.0.1:#{port}/#{database}"
  end

  # @return [Hash{String => Integer}] how many commands were counted, by name
  def counts
    @mutex.synchronize { @counts.dup }
  end

  # @param rule [Proc, nil] takes the place of the block
  attr_writer :rule

  # Leads elsewhere from now on, as an address does after a failover. Open connections end.
  #
  # @param target [Integer] port of another Redis
  # @return [void]
  def target=(target)
    @target = target
    cut
  end

  # Ends all open connections.
  #
  # @return [void]
  def cut
    @mutex.synchronize { @sockets.slice!(0..) }.each { |socket| shut(socket) }
  end

  # From now on nothing passes, and nobody is told so. Connections stay open, and new ones are accepted.
  #
  # @return [void]
  def black_hole
    @mutex.synchronize { @closed = true }
  end

  # Lets through what was held up, as the network does with what was sent into a partition: a command may arrive
  # long after its sender has given up on it.
  #
  # @return [void]
  def open
    @mutex.synchronize do
      @closed = false
      @opened.broadcast
    end
  end

  # @return [void]
  def close
    @server.close
    @mutex.synchronize { @threads.dup }.each(&:kill).each(&:join)
    cut
  end

  private

  def accept
    loop do
      client = @server.accept
      @mutex.synchronize { @threads << Thread.new { connect(client) } }
    end
  rescue IOError, SystemCallError
    # Closed.
  end

  def connect(client)
    pass_gate
    redis = TCPSocket.new("127.0.0.1", @target)
    [client, redis].each { |socket| prepare(socket) }
    @mutex.synchronize { @sockets.push(client, redis) }
    serve(client, redis)
  rescue IOError, SystemCallError
    # One of the two is gone.
  ensure
    [client, redis].compact.each(&:close)
    @mutex.synchronize { @sockets -= [client, redis] }
  end

  def prepare(socket)
    socket.binmode
    socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
  end

  def serve(client, redis)
    role = "sidekiq"
    while (command = Resp.read(client))
      words = Resp.words(command)
      role = words.last.delete_prefix("sidekiq-assured-jobs:") if words[0..1] == %w[CLIENT SETNAME]
      reply = pass_on(command, count("#{role}: #{CommandName.of(words)}"), client, redis) or break
      client.write(reply)
    end
  end

  # @return [String, nil] the reply, if there is still somebody to get it
  def pass_on(command, step, client, redis)
    return if meddle(step, :before) == :cut

    redis.write(command)
    await_reply(client, redis) or return
    reply = Resp.read(redis)
    reply unless meddle(step, :after) == :cut
  end

  # A pop that waits for a job must not get one for a client that is gone.
  def await_reply(client, redis)
    ready, = IO.select([redis, client])
    return true if ready.include?(redis)

    client.recv_nonblock(1, Socket::MSG_PEEK) != ""
  rescue IOError
    # The client has sent more commands, which were read into a buffer already.
    true
  end

  def meddle(step, instant)
    answer = step && @rule&.call(step, instant)
    sleep answer if answer.is_a?(Numeric)
    pass_gate unless answer == :cut
    answer
  end

  def pass_gate
    @mutex.synchronize { @opened.wait(@mutex) while @closed }
  end

  # @return [Step, nil] this command, if it counts
  def count(name)
    @mutex.synchronize { Step.new(name, @counts[name] += 1) if counts?(name) }
  end

  # Called under the lock.
  def counts?(_name)
    true
  end

  def shut(socket)
    socket.shutdown
  rescue IOError, SystemCallError
    # It has ended already.
  end
end
