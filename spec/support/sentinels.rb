# frozen_string_literal: true

require "redis"
require_relative "redis_server"
require_relative "wait"

# A master, a replica, and three sentinels that watch them. Each side has a password of its own.
class Sentinels
  NAME = "mymaster"
  DATA = "data"
  WATCH = "watch"

  attr_reader :ports

  def initialize
    options = ["--requirepass", DATA, "--masterauth", DATA, "--repl-diskless-sync-delay", "0"]
    @servers = [RedisServer.new(*options)]
    @servers << RedisServer.new(*options, "--replicaof", "127.0.0.1", master.port.to_s)
    @dir = Dir.mktmpdir("assured-sentinels")
    @ports = Array.new(3) { TCPServer.open("127.0.0.1", 0) { |server| server.addr[1] } }
    @pids = ports.map { |port| spawn_sentinel(port) }
    await("the sentinels know each other and the replica") { acquainted? }
  rescue Exception # rubocop:disable Lint/RescueException -- an interrupt must not leave servers behind
    remove
    raise
  end

  def master
    @servers.first
  end

  # Kills the master, and waits until the sentinels have made the replica one.
  #
  # @return [Redis] the new master
  def fail_over
    master.stop
    @servers.rotate!
    wait_for_master
  end

  # Has the sentinels change roles while both servers are up.
  #
  # @return [Redis] the new master
  def change_roles
    wait_until_replicated
    @servers.rotate!
    await("a sentinel changes roles") do
      # In this order: another failover, asked for when one has just ended, would change the roles back.
      next if failing_over?
      next true if ask(ports.first, "GET-MASTER-ADDR-BY-NAME", NAME) == place

      ask(ports.first, "FAILOVER", NAME)
      false
    end
    wait_for_master
  end

  # @return [Redis] the master
  def client
    @client ||= Redis.new(url: master.url, password: DATA)
  end

  # Waits until the replica has all that the master has.
  def wait_until_replicated
    await("the replica follows") { client.info("replication")["connected_slaves"] == "1" }
    await("the replica has everything") { client.wait(1, 100) == 1 }
  end

  # In the words of Sidekiq's options.
  #
  # @return [Hash]
  def options(ports: self.ports)
    { url: "redis://:#{DATA}@#{NAME}", sentinels: ports.map { |port| { host: "127.0.0.1", port:, password: WATCH } } }
  end

  def remove
    @client&.close
    @pids&.each do |pid|
      Process.kill(:KILL, pid)
      Process.wait(pid)
    end
    @servers&.each(&:remove)
    FileUtils.remove_entry(@dir) if @dir
  end

  private

  def spawn_sentinel(port)
    file = File.join(@dir, "#{port}.conf")
    File.write(file, <<~CONF)
      port #{port}
      bind 127.0.0.1
      dir #{@dir}
      requirepass #{WATCH}
      sentinel sentinel-pass #{WATCH}
      sentinel monitor #{NAME} 127.0.0.1 #{master.port} 2
      sentinel auth-pass #{NAME} #{DATA}
      sentinel down-after-milliseconds #{NAME} 1000
      sentinel failover-timeout #{NAME} 5000
    CONF
    Process.spawn("redis-server", file, "--sentinel", %i[out err] => File.join(@dir, "#{port}.log"))
  end

  # Sentinels give up a failover, and begin anew after a while.
  def await(what, &)
    Wait.wait_until(what, within: 60, &)
  rescue Wait::TimedOut => e
    raise e.class, [e.message, *Dir[File.join(@dir, "*.log")].map { |log| File.read(log) }].join("\n")
  end

  # As sentinels name it.
  def place
    ["127.0.0.1", master.port.to_s]
  end

  def ask(port, *words)
    sentinel = Redis.new(host: "127.0.0.1", port:, password: WATCH, reconnect_attempts: 0)
    sentinel.call("SENTINEL", *words)
  rescue Redis::BaseError
    # Not up yet, or a failover is under way.
    nil
  ensure
    sentinel&.close
  end

  # @return [Hash{String => String}] what a sentinel knows of the master
  def known(port) = Array(ask(port, "MASTER", NAME)).flatten.each_slice(2).to_h

  def failing_over? = known(ports.first).fetch("flags", "").include?("failover_in_progress")

  def acquainted?
    ports.all? { |port| known(port).values_at("num-other-sentinels", "num-slaves") == %w[2 1] }
  end

  def wait_for_master
    @client&.close
    @client = nil
    await("all sentinels name the new master") do
      ports.all? { |port| ask(port, "GET-MASTER-ADDR-BY-NAME", NAME) == place }
    end
    await("it takes writes") { client.info("replication")["role"] == "master" }
    client
  end
end
