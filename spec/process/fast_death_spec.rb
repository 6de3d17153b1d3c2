# frozen_string_literal: true

require_relative "../support/own_redis"
require_relative "../support/fault_proxy"
require_relative "../support/restartable_proxy"

# Heartbeats that expire long after the end of each example: what is recovered here was found dead by its connection.
RSpec.describe "Fast death" do
  let(:grace) { 2 }
  let(:env) do
    { "ASSURED_JOBS_HEARTBEAT_INTERVAL" => "20", "ASSURED_JOBS_HEARTBEAT_TTL" => "90",
      "ASSURED_JOBS_DEATH_GRACE" => grace.to_s }
  end
  let(:parked) { ["-c", "1", "-q", "other"] }

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end

  # A process that only judges, and one that works.
  def start_pair(**options)
    judge = start_sidekiq(env:, args: parked, **options)
    [judge, start_sidekiq(env:, args: ["-c", "2"], **options)]
  end

  def begin_job(key = "a", seconds = 600)
    push("AssuredJob", key, seconds)
    wait_until("it runs") { started.key?(key) }
  end

  def expect_nobody_dead(processes)
    expect(processes.map(&:log).join).not_to match(/is dead|declared dead|recovered/)
    expect(started.values).to all(eq(1))
  end

  # The mechanism works in this very setting: else the examples above say nothing.
  def expect_fast_death_of(victim)
    victim.kill
    wait_until("its job is back", within: 15) { redis.llen("queue:default") == 1 }
  rescue Wait::TimedOut => e
    raise "#{e.message}\n#{connections}\n#{processes.map(&:log).join("\n\n")}"
  end

  # What the last beats say of them, by instance.
  def connections
    redis.hgetall(key("beats")).transform_values { |beat| beat.split.drop(2).join(" ") }
  end

  it "brings back the jobs of a killed process long before its heartbeat expires" do
    judge, victim = start_pair
    begin_job
    expect_fast_death_of(victim)
    wait_until("it is buried") { connections.keys == registered }
    wait_until("it is logged") { judge.log.include?("is dead: its connection is closed") }
  end

  it "brings them back where a process that it forked lives on" do
    start_sidekiq(env:, args: parked)
    victim = start_sidekiq(env:, args: ["-c", "2"], app: File.expand_path("../support/forking_app.rb", __dir__))
    push("ForkingJob", "a")
    wait_until("it runs") { started.key?("a") }
    expect_fast_death_of(victim)
    expect(Process.kill(0, redis.get("child").to_i)).to eq(1)
  ensure
    Process.kill(:KILL, redis.get("child").to_i)
  end

  it "brings them back where the killed process was the only one and is started again" do
    victim = start_sidekiq(env:, args: ["-c", "2"])
    begin_job
    victim.kill
    start_sidekiq(env:, args: parked)
    wait_until("its job is back", within: 15) { redis.llen("queue:default") == 1 }
  end

  # SPEC_CUTS_SECONDS=60 takes the full minute.
  it "declares no process dead whose connections are all cut every second" do
    judge, victim = start_pair
    begin_job
    until_then = now + ENV.fetch("SPEC_CUTS_SECONDS", "8").to_f
    cuts = 0
    while now < until_then
      cuts += redis.client(:kill, "TYPE", "normal", "SKIPME", "yes")
      sleep 1 # the fault's own rhythm
    end
    expect(cuts).to be > 20
    expect_nobody_dead([judge, victim])
    wait_until("the cuts are over for the judge, too") { connections.size == 2 }
    expect_fast_death_of(victim)
  end

  it "declares no process dead when only its connections are cut" do
    judge, victim = start_pair
    begin_job
    until_then = now + (4 * grace)
    mine = registered_of(judge)
    cuts = 0
    while now < until_then
      # None where it beats on a new one by now.
      cuts += redis.client(:kill, "ID", connections.except(*mine).values.first.split.last)
      sleep 0.1 # the fault's own rhythm
    end
    expect(cuts).to be > 5
    expect_nobody_dead([judge, victim])
    expect_fast_death_of(victim)
  end

  def registered_of(process)
    process.log.scan(/instance (\S+) started/).flatten
  end

  it "declares nobody dead when a proxy is restarted, and so everybody's client id changes at once" do
    proxy = RestartableProxy.new(redis_server.port)
    judge, victim = start_pair(url: proxy.url)
    begin_job
    before = connections
    proxy.stop
    sleep grace * 1.5 # longer than the grace: nobody can beat
    proxy.start
    wait_until("both are back") { connections.size == 2 && (connections.values & before.values).empty? }
    watch(2 * grace) { expect(redis.llen("queue:default")).to eq(0) }
    expect_nobody_dead([judge, victim])
    expect_fast_death_of(victim)
  ensure
    proxy&.stop
  end

  it "declares nobody dead whose new connection has a lower client id than the one before" do
    proxy = FaultProxy.new(redis_server.port)
    judge, victim = start_pair(url: proxy.url)
    begin_job
    2.times do
      before = connections
      redis.client(:kill, "TYPE", "normal", "SKIPME", "yes")
      wait_until("both are back") { connections.size == 2 && (connections.values & before.values).empty? }
      watch(2 * grace) { expect(redis.llen("queue:default")).to eq(0) }
    end
    expect_nobody_dead([judge, victim])
    expect_fast_death_of(victim)
  ensure
    proxy&.close
  end

  def watch(seconds)
    until_then = now + seconds
    while now < until_then
      yield
      sleep 0.05
    end
  end

  context "with a Redis of its own that keeps its data" do
    include_context "with a Redis of its own"

    let(:server) { RedisServer.new("--appendonly", "yes", "--appendfsync", "always") }

    it "declares nobody dead when Redis is restarted, and its client ids begin anew" do
      judge, victim = start_pair(url: server.url)
      begin_job
      before = connections
      restart
      wait_until("both are back") { connections.size == 2 && (connections.values & before.values).empty? }
      watch(2 * grace) { expect(redis.llen("queue:default")).to eq(0) }
      expect_nobody_dead([judge, victim])
      expect_fast_death_of(victim)
    end

    it "leaves a process to the TTL that hangs while Redis is restarted: its connection proves nothing any more" do
      judge, victim = start_pair(url: server.url)
      begin_job
      before = connections
      victim.signal(:STOP)
      restart
      wait_until("the judge is back") { (connections.values - before.values).size == 1 }
      watch(3 * grace) { expect(redis.llen("queue:default")).to eq(0) }
      victim.signal(:CONT)
      wait_until("the other is back") { (connections.values & before.values).empty? }
      expect_nobody_dead([judge, victim])
    end
  end

  it "leaves a process that hangs to the TTL: its sockets stay open" do
    judge, victim = start_pair
    begin_job
    victim.signal(:STOP)
    watch(3 * grace) { expect(redis.llen("queue:default")).to eq(0) }
    victim.signal(:CONT)
    expect_nobody_dead([judge, victim])
    expect_fast_death_of(victim)
  end

  it "leaves it all to the TTL where an ACL forbids to ask for connections" do
    redis.call("ACL", "SETUSER", "worker", "on", ">secret", "~*", "&*", "+@all", "-client")
    url = redis_server.url.sub("//", "//worker:secret@")
    quick = env.merge("ASSURED_JOBS_HEARTBEAT_INTERVAL" => "1", "ASSURED_JOBS_HEARTBEAT_TTL" => "5")
    judge = start_sidekiq(env: quick, args: parked, url:)
    victim = start_sidekiq(env: quick, args: ["-c", "2"], url:)
    begin_job
    expect(connections.values).to all(be_empty)
    victim.kill
    wait_until("its job is back", within: 20) { redis.llen("queue:default") == 1 }
    expect(judge.log).not_to match(/is dead|NOPERM/)
  ensure
    redis.call("ACL", "DELUSER", "worker")
  end
end
