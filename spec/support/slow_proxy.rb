# frozen_string_literal: true

require "socket"

# Stands between a client and Redis and delays every reply, so that a recovery lasts long enough to be
# interrupted.
class SlowProxy
  attr_reader :port

  # @param target [Integer] port of the Redis
  # @param delay [Float] seconds for each reply
  def initialize(target, delay:)
    @target = target
    @delay = delay
    @server = TCPServer.new("127.0.0.1", 0)
    @port = @server.addr[1]
    @threads = [Thread.new { accept }]
  end

  def close
    @threads.each(&:kill)
    @server.close
  end

  def url
    "redis://127.0.0.1:#{port}/0"
  end

  private

  def accept
    loop do
      client = @server.accept
      redis = TCPSocket.new("127.0.0.1", @target)
      @threads << Thread.new { copy(client, redis, 0) } << Thread.new { copy(redis, client, @delay) }
    end
  end

  def copy(from, to, delay)
    loop do
      bytes = from.readpartial(1 << 16)
      sleep delay
      to.write(bytes)
    end
  rescue IOError, SystemCallError
    [from, to].each(&:close)
  end
end
