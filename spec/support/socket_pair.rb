# frozen_string_literal: true

require "socket"

# A client's connection to a proxy, and the proxy's connection to Redis.
class SocketPair
  # @return [TCPSocket]
  attr_reader :client, :redis

  # @param client [TCPSocket]
  # @param redis [TCPSocket]
  def initialize(client, redis)
    @client = client
    @redis = redis
    [client, redis].each do |socket|
      socket.binmode
      socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
    end
  end

  # A pop that waits for a job must not get one for a client that is gone.
  #
  # @return [Boolean] whether the client is still there when the reply is
  def await_reply
    ready, = IO.select([redis, client])
    ready.include?(redis) || client.recv_nonblock(1, Socket::MSG_PEEK) != ""
  rescue IOError
    # The client has sent more commands, which were read into a buffer already.
    true
  end

  # Ends both from another thread than the one that reads them.
  #
  # @return [void]
  def cut
    [client, redis].each do |socket|
      socket.shutdown
    rescue IOError, SystemCallError
      # It has ended already.
    end
  end

  # @return [void]
  def close
    [client, redis].each(&:close)
  end
end
