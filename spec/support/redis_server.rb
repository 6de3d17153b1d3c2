# frozen_string_literal: true

require "fileutils"
require "socket"
require "tmpdir"
require_relative "wait"

# A private Redis on a free port.
class RedisServer
  attr_reader :port, :pid

  # How many ports are tried: another process may be faster with one that was free a moment ago.
  PORTS = 5

  # @param options [Array<String>] of redis-server
  # @param env [Hash{String => String}] its environment
  def initialize(*options, env: {})
    @options = options
    @env = env
    @dir = Dir.mktmpdir("assured-redis")
    PORTS.times do
      @port = TCPServer.open("127.0.0.1", 0) { |server| server.addr[1] }
      return if launch
    end
    start
  rescue RuntimeError
    remove
    raise
  end

  def start
    launch || raise("redis-server has ended:\n#{log}")
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

  # @return [Boolean] false where it has ended at once
  def launch
    @pid = Process.spawn(
      @env, ENV.fetch("REDIS_SERVER", "redis-server"), "--port", port.to_s, "--bind", "127.0.0.1", "--dir", @dir,
      "--save", "", "--appendonly", "no", *@options, %i[out err] => log_file
    )
    Wait.wait_until("redis-server is ready") { log.include?("Ready to accept connections") || ended? }
    !@pid.nil?
  rescue Exception # rubocop:disable Lint/RescueException -- an interrupt must not leave a server behind
    remove
    raise
  end

  def ended?
    @pid = nil if Process.wait(@pid, Process::WNOHANG)
    @pid.nil?
  end

  def log
    File.read(log_file)
  end

  def log_file
    File.join(@dir, "redis.log")
  end
end
