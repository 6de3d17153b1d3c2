# frozen_string_literal: true

require_relative "helper_process"
require_relative "orphans"

# One recovery of all orphans, watched by another client of that Redis.
class RecoveryRound
  INSTANCES = 20

  Figures = Struct.new(:rate, :seconds, :cpu, :redis_cpu, :slowest, :ping, keyword_init: true)

  # @param server [RedisServer]
  # @param orphans [Integer]
  # @param middleware [String, nil] set if the recovering process has a client middleware
  def initialize(server, orphans:, middleware:)
    @server = server
    @redis = Redis.new(url: server.url, timeout: 60)
    @count = orphans
    @orphans = Orphans.new(@redis, count: orphans, instances: INSTANCES)
    @env = { "REDIS_URL" => server.url, "BENCH_MIDDLEWARE" => middleware }
  end

  # @return [Figures]
  # @raise [RuntimeError] unless all orphans came back, once each
  def play
    @orphans.seed
    figures, ended_at = recover
    # Recovery stamps each payload; the first stamp is when the first job was queued again.
    first = @orphans.verify.map { |payload| payload["enqueued_at"] }.min
    figures.rate = @count / (ended_at - first)
    figures
  ensure
    @orphans.clear
    @redis.close
  end

  private

  def recover
    recoverer = HelperProcess.new("recoverer.rb", env: @env)
    @redis.slowlog("reset")
    before = Bench.cpu_of(@redis)
    pinger = HelperProcess.new("pinger.rb", @server.port.to_s)
    recoverer.go
    result = recoverer.report
    figures = Figures.new(seconds: result["seconds"], cpu: result["cpu"], ping: pinger.report,
                          redis_cpu: Bench.cpu_of(@redis) - before, slowest: slowest_command)
    [figures, result["ended_at"]]
  end

  # @return [Array(Float, String), nil] milliseconds and name
  def slowest_command
    @redis.slowlog("get", -1).map { |_, _, micros, command| [micros / 1000.0, command.first] }.max
  end
end
