# frozen_string_literal: true

require "fileutils"
require "redis"
require "socket"
require "tmpdir"
require_relative "wait"

# A private Redis on a free port.
class RedisServer
  attr_reader :port, :pid

  def initialize(*options)
    @options = options
    @port = TCPServer.open("127.0.0.1", 0) { |server| server.addr[1] }
    @dir = Dir.mktmpdir("assured-redis")
    start
  end

  def start
    @pid = Process.spawn(
      ENV.fetch("REDIS_SERVER", "redis-server"), "--port", port.to_s, "--bind", "127.0.0.1", "--dir", @dir,
      "--save", "", "--appendonly", "no", *@options, %i[out err] => File.join(@dir, "redis.log")
    )
    Wait.wait_until("redis-server answers") { answers? }
  rescue Exception # rubocop:disable Lint/RescueException -- an interrupt must not leave a server behind
    remove
    raise
  end

  def stop
    return unless @pid

    Process.kill(:KILL, @pid)
    Process.wait(@pid)
    @pid = nil
  end

  # Removes what a server that is stopped has on disk, except for its log.
  def forget
    FileUtils.rm_rf(Dir[File.join(@dir, "{appendonlydir,*.aof,*.rdb}")])
  end

  def remove
    stop
    FileUtils.remove_entry(@dir)
  end

  def url(db = 0)
    "redis://127.0.0.1:#{port}/#{db}"
  end

  private

  def answers?
    client = Redis.new(url:, reconnect_attempts: 0)
    client.ping
  rescue Redis::BaseError
    # Not listening yet, or a password is required, which is an answer.
    $!.message.include?("NOAUTH") # rubocop:disable Style/SpecialGlobalVars
  ensure
    client&.close
  end
end
