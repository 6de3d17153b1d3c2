# frozen_string_literal: true

require "socket"
require_relative "command_name"
require_relative "falling_ids"
require_relative "gate"
require_relative "resp"
require_relative "socket_pair"

# Stands between clients and Redis, and does to them what networks do: cuts, delays and black holes, at any command,
# before Redis executes it or after. Each connection waits for the reply to a command before it passes on the next
# one, so that there is such an instant for every command of a batch.
# Client ids fall ({FallingIds}).
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
    @gate = Gate.new
    @pairs = []
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
    @mutex.synchronize { @pairs.dup }.each(&:cut)
  end

  # From now on nothing passes, and nobody is told so. Connections stay open, and new ones are accepted.
  #
  # @return [void]
  def black_hole
    @gate.close
  end

  # Lets through what was held up, as the network does with what was sent into a partition: a command may arrive
  # long after its sender has given up on it.
  #
  # @return [void]
  def open
    @gate.open
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
    @gate.pass
    pair = SocketPair.new(client, TCPSocket.new("127.0.0.1", @target))
    @mutex.synchronize { @pairs << pair }
    serve(pair)
  rescue IOError, SystemCallError
    # One of the two is gone.
  ensure
    (pair || client).close
    @mutex.synchronize { @pairs.delete(pair) }
  end

  def serve(pair)
    role = "sidekiq"
    while (command = Resp.read(pair.client))
      words = Resp.words(command)
      role = words.last.delete_prefix("sidekiq-assured-jobs:") if words[0..1] == %w[CLIENT SETNAME]
      step = count("#{role}: #{CommandName.of(words)}")
      reply = pass_on(FallingIds.to_redis(command, words), step, pair) or break
      pair.client.write(FallingIds.to_client(reply, words))
    end
  end

  # @return [String, nil] the reply, if there is still somebody to get it
  def pass_on(command, step, pair)
    return if meddle(step, :before) == :cut

    pair.redis.write(command)
    pair.await_reply or return
    reply = Resp.read(pair.redis)
    reply unless meddle(step, :after) == :cut
  end

  def meddle(step, instant)
    answer = step && @rule&.call(step, instant)
    sleep answer if answer.is_a?(Numeric)
    @gate.pass unless answer == :cut
    answer
  end

  # @return [Step, nil] this command, if it counts
  def count(name)
    @mutex.synchronize { Step.new(name, @counts[name] += 1) if counts?(name) }
  end

  # Called under the lock.
  def counts?(_name)
    true
  end
end
