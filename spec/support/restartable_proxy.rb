# frozen_string_literal: true

require "socket"

# Stands between processes and Redis, and can go away and come back on the same port, cutting everything at once.
class RestartableProxy
  attr_reader :port

  # @param target [Integer] port of the Redis
  def initialize(target)
    @target = target
    @mutex = Mutex.new
    start
  end

  # @return [void]
  def start
    @sockets = []
    @server = TCPServer.new("127.0.0.1", port || 0)
    @port = @server.addr[1]
    @thread = Thread.new { accept }
  end

  # @return [void]
  def stop
    @server.close
    @thread.join
    @mutex.synchronize { @sockets.each(&:close) }
  end

  def url
    "redis://127.0.0.1:#{port}/0"
  end

  private

  def accept
    loop do
      client = @server.accept
      redis = TCPSocket.new("127.0.0.1", @target)
      @mutex.synchronize { @sockets.push(client, redis) }
      Thread.new { copy(client, redis) }
      Thread.new { copy(redis, client) }
    end
  rescue IOError, SystemCallError
    # Stopped.
  end

  def copy(from, to)
    loop { to.write(from.readpartial(1 << 16)) }
  rescue IOError, SystemCallError
    [from, to].each(&:close)
  end
end
