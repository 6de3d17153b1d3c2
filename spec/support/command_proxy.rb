# frozen_string_literal: true

require "socket"
require_relative "command_name"
require_relative "resp"

# Stands between one process and Redis, counts the commands that matter to a job, and kills the process at one of
# them: before Redis gets it, or after Redis has executed it and before the process learns so. Each connection
# waits for the reply to a command before it passes on the next one, so that there is such an instant for every
# command of a batch.
class CommandProxy
  # No job depends on them: heartbeats up to the last one, and Sidekiq's statistics.
  UNCOUNTED = /\Aheartbeat: (?!retire)| stat:/

  # A command, named by its connection and by what it does; the number, from 1 on, tells those of one name apart.
  Step = Struct.new(:name, :number) do
    # @return [String]
    def to_s
      "#{name} ##{number}"
    end
  end

  # @return [Boolean] whether the process was killed
  attr_reader :killed

  # @param target [Integer] port of the Redis
  def initialize(target)
    @target = target
    @mutex = Mutex.new
    @sockets = []
    @counts = Hash.new(0)
    @server = TCPServer.new("127.0.0.1", 0)
    @threads = [Thread.new { accept }]
  end

  # @return [Integer]
  def port
    @server.addr[1]
  end

  # Begins to count.
  #
  # @param pid [Integer] process to kill
  # @param step [Step, nil] at which command; at none if nil
  # @param instant [Symbol] `:before` or `:after` Redis executes it
  # @return [void]
  def arm(pid, step, instant)
    @mutex.synchronize { @armed = [pid, step, instant] }
  end

  # @return [Hash{String => Integer}] how many commands were counted, by name
  def counts
    @mutex.synchronize { @counts.dup }
  end

  # @return [void]
  def close
    @server.close
    @mutex.synchronize { @threads.dup }.each(&:kill).each(&:join)
    close_sockets
  end

  private

  def accept
    loop do
      client = @server.accept
      redis = TCPSocket.new("127.0.0.1", @target)
      [client, redis].each { |socket| prepare(socket) }
      @mutex.synchronize do
        @sockets.push(client, redis)
        @threads << Thread.new { serve(client, redis) }
      end
    end
  rescue IOError, SystemCallError
    # Closed.
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
      reply = pass_on(command, count(role, words), redis) or break
      client.write(reply)
    end
  rescue IOError, SystemCallError
    # One of the two is gone.
  ensure
    [client, redis].each(&:close)
  end

  # @return [String, nil] the reply, if there is still somebody to get it
  def pass_on(command, step, redis)
    return kill if due?(step, :before)

    redis.write(command)
    reply = Resp.read(redis)
    due?(step, :after) ? kill : reply
  end

  # @return [Step, nil] this command, if it counts
  def count(role, words)
    name = "#{role}: #{CommandName.of(words)}"
    @mutex.synchronize do
      next if @armed.nil? || @killed || UNCOUNTED.match?(name)

      Step.new(name, @counts[name] += 1)
    end
  end

  def due?(step, instant)
    step && @armed[1..] == [step, instant]
  end

  # The other connections end with the process, as they would without a proxy: a pop that still waits must not
  # get a job for nobody.
  def kill
    @mutex.synchronize { @killed = true }
    Process.kill(:KILL, @armed.first)
    close_sockets
    nil
  end

  def close_sockets
    @mutex.synchronize { @sockets.dup }.each(&:close)
  end
end
