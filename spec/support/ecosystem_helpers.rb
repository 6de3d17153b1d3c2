# frozen_string_literal: true

require "socket"
require_relative "ecosystem"

# Processes of `ecosystem_app.rb`, and what they leave.
module EcosystemHelpers
  APP = File.expand_path("ecosystem_app.rb", __dir__)
  CLIENT = File.expand_path("ecosystem_client.rb", __dir__)
  THREADS = 5
  KILLS = 5
  KEYS = Array.new(KILLS * Ecosystem::SLICE, &:to_s).freeze

  # The HTTP server of sidekiq_alive is a process of its own, in the group of the one that it comes from, and lives on.
  def self.included(base)
    base.after do
      processes.each do |process|
        process.kill
        Process.kill(:KILL, -process.pid)
      rescue Errno::ESRCH
        nil
      end
    end
  end

  # @param gems [Array<String>] names, as {Ecosystem::FILES} has them
  # @param first [Boolean] whether they are required before ours
  # @param anytime [Boolean] whether a kill may come at any instant. Where another gem's fetcher brings the jobs, one
  #   that was popped and has not begun may be lost; so there each thread is in its job.
  # @yieldparam victim [SidekiqProcess] each one, when it has been killed
  # @return [Hash{String => Integer}] how often each job was in hand at a kill
  def kill_and_replace(gems, first:, anytime:)
    env = { "ECOSYSTEM_GEMS" => gems.join(","), "ECOSYSTEM_FIRST" => (first ? "1" : nil), "SPEC_POLL" => "0.5",
            # The same job may be in hand at each kill.
            "ASSURED_JOBS_MAX_RECOVERIES" => "20" }
    2.times { boot(env) }
    in_hand = with_client(env) do |client|
      Array.new(KILLS) do |round|
        push(client, round * Ecosystem::SLICE)
        boot(env)
        kill(processes[round], anytime).tap { yield processes[round] }
      end
    end
    in_hand.flatten.tally
  end

  # Waits until all jobs have ended.
  def settle
    wait_until("all jobs have ended", within: 60) do
      make_retries_due
      (KEYS - finished.keys).empty? && in_flight.empty? && redis.llen("queue:default").zero?
    end
  rescue Wait::TimedOut
    raise "not ended: #{KEYS - finished.keys}, in flight: #{in_flight}\n#{processes.last.log}"
  end

  # @param in_hand [Hash{String => Integer}] as {kill_and_replace} returns it
  # @return [Array<String>] jobs that ran more often than kills explain, and the exception of one in ten at first
  def unexplained(in_hand)
    started.select { |key, runs| runs > in_hand.fetch(key, 0) + (key.end_with?("0") ? 2 : 1) }.keys
  end

  private

  def make_retries_due
    redis.zrange("retry", 0, -1).each { |retried| redis.zadd("retry", 0, retried, xx: true) }
  end

  def boot(env)
    port = TCPServer.open("127.0.0.1", 0) { |server| server.addr[1] }
    env = env.merge("SIDEKIQ_ALIVE_PORT" => port.to_s, "HOSTNAME" => "host-#{port}")
    spawn_sidekiq(app: APP, args: ["-c", THREADS.to_s], env:)
  end

  def with_client(env, &)
    env = env.merge("REDIS_URL" => redis_server.url, "RUBYOPT" => nil)
    IO.popen([env, RbConfig.ruby, "-I#{SidekiqProcess::ROOT}/lib", "-rbundler/setup", CLIENT], "r+",
             chdir: SidekiqProcess::ROOT, &)
  end

  def push(client, first)
    client.puts(first)
    client.gets || raise("the client ended")
  end

  def kill(process, anytime)
    redis.set("hold", 1) unless anytime
    what, threads = anytime ? ["running", 1] : ["held", THREADS]
    wait_until("it works\n#{process.log}", within: 40) { redis.get("#{what}:#{process.pid}").to_i >= threads }
    sleep rand(0.3) if anytime
    process.kill
    keys_in_hand(process.pid).tap { redis.del("hold") }
  end

  # @return [Array<String>] of the jobs that a process has left
  def keys_in_hand(pid)
    names = redis.keys(key("jobs:*:#{pid}:*")).flat_map { |jobs| redis.smembers(jobs) }
    payloads = names.filter_map { |name| redis.get(key("job:#{name}")) }
    payloads.flat_map { |payload| JSON.parse(payload)["args"].flatten.map(&:to_s) }
  end
end
