# frozen_string_literal: true

require_relative "../support/own_redis"
require_relative "../support/repeater"

# Processes and servers that are away for longer than the TTL: each has one outcome.
RSpec.describe "A verdict" do
  let(:ttl) { ServerHelpers::QUICK["ASSURED_JOBS_HEARTBEAT_TTL"].to_f }
  let(:app) { File.expand_path("../support/lease_app.rb", __dir__) }

  def start_app(args: ["-c", "2"], **options)
    start_sidekiq(app:, args:, **options)
  end

  def tokens(key)
    redis.hgetall("journal:token:#{key}").transform_values(&:to_i)
  end

  def lost
    redis.hgetall("journal:lost").transform_values(&:to_i)
  end

  def failures
    redis.get("stat:failed").to_i
  end

  # The job's process is stopped until another one has its job.
  def give_away(job_class, key, *args, victim: start_app, **options)
    jid = push(job_class, key, *args, **options)
    wait_until("it runs") { started[key] == 1 }
    # Busy with it from then on.
    other = start_app(args: ["-c", "1"])
    victim.signal(:STOP)
    wait_until("the other one has it", within: 20) { started[key] == 2 }
    [jid, victim, other]
  end

  it "falls on a process that hangs for longer than the TTL, which learns of it and changes nothing any more" do
    jid, victim, other = give_away("ZombieJob", "a", "finish")
    victim.signal(:CONT)
    wait_until("it learns of it") { lost == { "a" => 1 } }
    wait_until("it is logged") { victim.log.match?(/declared dead; 1 running jobs/) }
    wait_until("the zombie's run is over") { victim.log.match?(/JID|jid=#{jid}.* done|INFO: done/) }
    push("ZombieJob", "b", "finish")
    wait_until("it works on") { started["b"] == 1 }

    expect(in_flight.count(jid)).to eq(1)
    expect(redis.get(key("job:#{jid}"))).to include(jid)
    %w[a b].each { |key| redis.set("free:#{key}", 1) }
    wait_until("both are finished") { finished == { "a" => 1, "b" => 1 } }
    wait_until("nothing is in flight") { in_flight.empty? }
    expect(tokens("a")).to eq("#{jid}:1" => 2)
    expect(other.log).not_to match(/declared dead/)
  end

  [%w[checkpoint true], %w[raise true], %w[raise false]].each do |ending, fetch|
    it "keeps a zombie that ends with an exception (#{ending}, assured fetch: #{fetch}) from storing a retry" do
      # Its one thread is busy: a stopped process whose BRPOP waits in Redis gets the next job.
      victim = start_app(args: ["-c", "1"], env: { "ASSURED_JOBS_FETCH" => fetch })
      give_away("ZombieJob", "a", ending, victim:)
      victim.signal(:CONT)
      wait_until("it learns of it") { lost == { "a" => 1 } }
      wait_until("its run is over") { victim.log.include?("no retry is stored") }
      redis.set("free:a", 1)
      wait_until("the newer attempt is finished") { finished == { "a" => 1 } }
      wait_until("nothing is in flight") { in_flight.empty? }
      # Then it writes down what it counted.
      victim.signal(:TERM)
      victim.wait_for_exit

      expect(redis.zcard("retry")).to eq(0)
      expect(failures).to eq(0)
      expect(started).to eq("a" => 2)
    end
  end

  # As after a night: every trace of the verdict is gone, and so is what others have done since.
  %w[raise finish].each do |ending|
    it "binds a process that was stopped for so long that nothing tells of it any more (#{ending})" do
      victim = start_app(args: ["-c", "1"])
      jid, = give_away("ZombieJob", "a", ending, victim:)
      wait_until("it has left the registry") { registered.size == 1 }
      redis.set("free:a", 1)
      wait_until("the newer attempt is finished") { finished == { "a" => 1 } }
      redis.del(*redis.keys(key("verdict:*")), "free:a")
      victim.signal(:CONT)
      wait_until("it learns of it") { lost == { "a" => 1 } }
      redis.set("free:a", 1)
      wait_until("the zombie's run is over") { victim.log.match?(/JID|jid=#{jid}.* done|INFO: done/) }
      victim.signal(:TERM)
      victim.wait_for_exit

      expect(victim.log).not_to match(/had lost/)
      expect(redis.zcard("retry") + queued.size).to eq(0)
      expect(started).to eq("a" => 2)
    end
  end

  it "falls on nobody whose heartbeat is deleted or evicted while it beats" do
    victim = start_app(args: ["-c", "1"])
    push("ZombieJob", "a", "finish")
    wait_until("it runs") { started["a"] == 1 }
    id = registered.first
    judge = start_app(args: ["-c", "1"])
    evictions = Repeater.new do
      redis.del(key("instance:#{id}"))
      0.02
    end
    sleep 3 * ttl # in which nobody may be declared dead
    expect([victim, judge].map(&:log).join).not_to match(/declared dead|recovered/)
    expect(started).to eq("a" => 1)
    victim.kill
    killed = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    wait_until("its job is back", within: 15) { started["a"] == 2 }
    # The TTL, an interval, and time for a busy machine.
    expect(Process.clock_gettime(Process::CLOCK_MONOTONIC) - killed).to be < ttl + 0.5 + 3
  ensure
    evictions&.stop
  end

  it "is asked for when an exception comes before the next heartbeat" do
    victim = start_app(args: ["-c", "1"], env: { "ASSURED_JOBS_HEARTBEAT_INTERVAL" => "60",
                                                 "ASSURED_JOBS_HEARTBEAT_TTL" => "180",
                                                 "ASSURED_JOBS_DEATH_GRACE" => "0" })
    push("BlindZombieJob", "a")
    wait_until("it runs") { started["a"] == 1 }
    # As if somebody had given the verdict.
    redis.hset(key("beats"), registered.first, "expired")
    redis.del(key("instance:#{registered.first}"))
    other = start_app
    wait_until("the other one has it", within: 20) { started["a"] == 2 }
    other.signal(:STOP)
    redis.set("free:a", 1)
    wait_until("its run is over") { victim.log.include?("no retry is stored") }
    expect(lost).to be_empty
    expect(redis.zcard("retry")).to eq(0)
  end

  it "is not the end of a job's retries" do
    start_app(env: { "SPEC_POLL" => "0.5" })
    jid = push("FlakyJob", "a")
    wait_until("the retry is finished", within: 40) { finished == { "a" => 1 } }

    expect(tokens("a")).to eq("#{jid}:1" => 1, "#{jid}:2" => 1)
    expect(failures).to be <= 1
  end

  it "reaches ActiveJob classes, and retry_on makes no second job of a zombie" do
    skip "activejob is not in the bundle" unless Gem.loaded_specs.key?("activejob")
    env = { "SPEC_ACTIVE_JOB" => "1" }
    wrapper = "ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper"
    serialized = { "job_class" => "ZombieActiveJob", "job_id" => "aj", "queue_name" => "default",
                   "arguments" => ["a"], "executions" => 0, "exception_executions" => {}, "locale" => "en" }
    victim = start_app(env:)
    jid = push(wrapper, serialized, "wrapped" => "ZombieActiveJob")
    wait_until("it runs\n#{victim.log}") { started["a"] == 1 }
    start_app(env:)
    victim.signal(:STOP)
    wait_until("the other one has it", within: 20) { started["a"] == 2 }
    victim.signal(:CONT)
    wait_until("its run is over") { victim.log.include?("no retry is stored") }
    redis.set("free:a", 1)
    wait_until("the newer attempt is finished") { finished == { "a" => 1 } }

    expect(started).to eq("a" => 2)
    expect(tokens("a")).to eq("#{jid}:1" => 2)
    expect(redis.zcard("retry") + redis.zcard("schedule")).to eq(0)
  end

  it "falls on nobody when a whole machine pauses, all its processes at once" do
    victim = start_app
    push("ZombieJob", "a", "finish")
    wait_until("it runs") { started["a"] == 1 }
    other = start_app
    [victim, other].each { |process| process.signal(:STOP) }
    wait_until("no heartbeat is left", within: 10) { redis.keys(key("instance:*")).empty? }
    [victim, other].each { |process| process.signal(:CONT) }
    wait_until("all beat again") { redis.keys(key("instance:*")).size == 2 }
    sleep ttl # in which nobody may be declared dead
    redis.set("free:a", 1)
    wait_until("it is finished") { finished == { "a" => 1 } }

    expect(started).to eq("a" => 1)
    expect([victim, other].map(&:log).join).not_to match(/declared dead|recovered/)
  end

  context "with a Redis of its own" do
    include_context "with a Redis of its own"

    it "falls on nobody when Redis is away for longer than the TTL" do
      both = Array.new(2) { start_app(url: server.url) }
      push("ZombieJob", "a", "finish")
      wait_until("it runs") { started["a"] == 1 }
      Process.kill(:STOP, server.pid)
      sleep 2 * ttl # the outage
      Process.kill(:CONT, server.pid)
      wait_until("all beat again") { redis.keys(key("instance:*")).size == 2 }
      sleep ttl # in which nobody may be declared dead
      redis.set("free:a", 1)
      wait_until("it is finished") { finished == { "a" => 1 } }

      expect(started).to eq("a" => 1)
      expect(both.map(&:log).join).not_to match(/declared dead|recovered/)
    end
  end
end
