# frozen_string_literal: true

require_relative "../support/unique_client"

RSpec.describe "A job with a lock of the sidekiq-unique-jobs gem" do
  before(:context) do
    skip "UNIQUE_JOBS_PATH names no sidekiq-unique-jobs gem (its lib folders, with colons between)" unless
      ENV.key?("UNIQUE_JOBS_PATH")
  end

  let(:client) { UniqueClient.new(redis_server.url) }
  let(:app) { File.expand_path("../support/unique_app.rb", __dir__) }
  # For a process that recovers and runs nothing.
  let(:idle) { ["-q", "other"] }

  after { client.close }

  def class_of(lock)
    "#{lock.to_s.split("_").map(&:capitalize).join}Job"
  end

  def start(**options)
    start_sidekiq(app:, **options)
  end

  def hold
    redis.set("hold", 1)
  end

  def let_go
    redis.del("hold")
  end

  # @return [String] jid of a job that runs in a process of its own, and the process
  def run_in_victim(job_class, *args, **options)
    hold
    victim = start(args: ["-c", "1", "-t", "1"], **options)
    jid = client.push(job_class, *args)
    wait_until("the job runs") { started.key?(jid) }
    [jid, victim]
  end

  # @return [Hash{String => Array<String>}] who holds each lock
  def locks
    redis.keys("*:LOCKED").sort.to_h { |lock| [lock, redis.hkeys(lock).sort] }
  end

  def queued_jids
    queued.map { |job| job["jid"] }
  end

  def wait_until_done(*jids, within: 20)
    wait_until("#{jids} are finished", within:) { (jids - finished.keys).empty? }
    wait_until("nothing is in flight") { in_flight.empty? }
  end

  # @return [String] jid of an orphan that is queued again, after what the block does before
  def recover_orphan(job_class, **options)
    jid, victim = run_in_victim(job_class, **options)
    victim.kill
    yield jid if block_given?
    recoverer = start(args: idle)
    wait_until("it is queued again\n#{recoverer.log}") { queued_jids.include?(jid) }
    recoverer.kill
    jid
  end

  # Which locks refuse a duplicate from the push of a job to its end. The others let one in while the job runs, as long
  # as it waits for its next run, too: the queue lock ended when it began.
  refusing = { until_executing: false, until_executed: true, until_expired: true,
               until_and_while_executing: false, while_executing: false }

  ways_in = { "assured fetch" => {}, "the middleware" => { "ASSURED_JOBS_FETCH" => "false" } }

  refusing.each_key do |lock|
    context "with #{lock}" do
      it "comes back after a kill, runs, and has its duplicates refused as ever" do
        jid = recover_orphan(class_of(lock)) do
          expect(client.push(class_of(lock))).to be_nil if refusing[lock]
        end
        expect(client.push(class_of(lock))).to be_nil if refusing[lock]

        start(args: ["-c", "1"])
        wait_until("it runs again") { started[jid] == 2 }
        expect(client.push(class_of(lock))).to be_nil if refusing[lock]
        let_go
        wait_until_done(jid)
        expect(started).to eq(jid => 2)
        expect(client.push(class_of(lock))).to be_nil if lock == :until_expired
        expect(wait_until("the lock is free") { client.push(class_of(lock)) }).not_to eq(jid) if lock != :until_expired
      end

      ways_in.each do |way, env|
        it "comes back from a hard shutdown, by #{way}, runs, and has its duplicates refused" do
          jid, victim = run_in_victim(class_of(lock), env:)
          victim.signal(:TERM)
          victim.wait_for_exit

          expect(queued_jids).to eq([jid]), victim.log
          expect(client.push(class_of(lock))).to be_nil if refusing[lock]
          let_go
          start
          wait_until_done(jid)
          expect(started).to eq(jid => 2)
        end
      end

      it "leaves the newer attempt its locks when it ends late, in a process that was stopped" do
        jid, zombie = run_in_victim(class_of(lock))
        zombie.signal(:STOP)
        other = start(args: ["-c", "1"])
        wait_until("it runs elsewhere\n#{other.log}") { started[jid] == 2 }
        held = locks
        zombie.signal(:CONT)
        wait_until("it knows\n#{zombie.log}") { zombie.log.include?("declared dead") }
        redis.set("let_go:#{zombie.pid}", 1)
        wait_until("the zombie ends") { redis.hexists("journal:ended", zombie.pid) }

        expect(locks).to eq(held)
        let_go
        wait_until_done(jid)
        wait_until("its end is written down") { finished[jid] == 2 }
        wait_until("the lock is free") { locks.empty? } unless lock == :until_expired
      end
    end
  end

  # Duplicates are pushed by the client, one after the other.
  describe "pairs of duplicates that come up together" do
    # @return [Integer] how many were accepted
    def push_pair(job_class, pair)
      jids = Array.new(2) { client.push(job_class, "together", pair) }.compact
      redis.hset("journal:accepted", pair, jids.size)
      jids.size
    end

    # @return [Integer] how many of them run twice
    def twice(job_class, pairs, **options)
      accepted = (0...pairs).sum { |pair| push_pair(job_class, pair) }
      worker = spawn_sidekiq(app:, args: ["-c", "10"], **options)
      wait_until("all are dealt with", within: 60 + pairs) do
        redis.hvals("journal:ended").sum(&:to_i) >= accepted && queued.empty? && in_flight.empty?
      end
      redis.hvals("journal:pairs").count { |runs| runs.to_i > 1 }.tap do
        worker.kill
        redis.flushall
      end
    end

    refusing.each_key do |lock|
      it "run as often as without us (#{lock})" do
        pairs = ENV.fetch("SPEC_PAIRS", "20").to_i
        without = twice(class_of(lock), pairs, env: { "SPEC_WITHOUT_US" => "true" })
        with = twice(class_of(lock), pairs)
        RSpec.configuration.reporter.message("#{pairs} pairs (#{lock}): #{without} twice without us, #{with} with us")

        expect(with).to be <= without
      end
    end
  end

  # A duplicate that is queued has the lock when the orphan is found.
  ["", "reject", "replace", "raise", "log", "reschedule"].each do |answer|
    it "does not wait for a queued duplicate, and neither is lost (until_and_while_executing #{answer})" do
      job_class = answer.empty? ? "UntilAndWhileExecutingJob" : class_of("until_and_while_executing_#{answer}")
      duplicate = nil
      jid = recover_orphan(job_class) { expect(duplicate = client.push(job_class)).to be_a(String) }
      expect(queued_jids).to eq([jid, duplicate])
      start(args: ["-c", "1"])
      wait_until("it runs") { started[jid] == 2 }
      let_go
      wait_until_done(jid, duplicate)

      expect(started).to eq(jid => 2, duplicate => 1)
      expect(%w[dead schedule retry].map { |set| redis.zcard(set) }).to all(eq(0))
      expect(client.push(job_class)).to be_a(String)
    end
  end

  # The orphan was found late: that gem's reaper has its locks for orphans', too.
  %w[WhileExecutingJob UntilAndWhileExecutingJob UntilExecutedJob].each do |job_class|
    it "waits for a duplicate that began after its lock was reaped (#{job_class})" do
      jid = recover_orphan(job_class)
      orphan = redis.lpop("queue:default")
      client.reap
      duplicate = client.push(job_class)
      worker = start
      wait_until("the duplicate runs") { started.key?(duplicate) }
      redis.rpush("queue:default", orphan)
      wait_until("the orphan waits\n#{worker.log}") { worker.log.scan(/#{jid} has not run, .*it goes back/).size > 1 }
      expect(started).to eq(jid => 1, duplicate => 1)
      let_go
      wait_until_done(jid, duplicate)
      expect(started).to eq(jid => 2, duplicate => 1)
    end
  end

  %w[WhileExecutingJob UntilAndWhileExecutingJob].each do |job_class|
    it "waits for a duplicate that began after a hard shutdown had pushed it back (#{job_class})" do
      jid, victim = run_in_victim(job_class)
      victim.signal(:TERM)
      victim.wait_for_exit
      pushed_back = redis.lpop("queue:default")
      client.reap
      duplicate = client.push(job_class)
      worker = start
      wait_until("the duplicate runs") { started.key?(duplicate) }
      redis.lpush("queue:default", pushed_back)
      wait_until("the job waits") { worker.log.match?(/#{jid} has not run, .*it goes back/) }
      let_go
      wait_until_done(jid, duplicate)
      expect(started).to eq(jid => 2, duplicate => 1)
    end

    # A lock is written in several steps, and a process may end between any two.
    { "queued for" => "QUEUED", "about to take" => "PRIMED" }.each do |step, list|
      it "runs where its process was killed while it was #{step} the runtime lock (#{job_class})" do
        jid = recover_orphan(job_class) do |orphan|
          lock = redis.keys("*:RUN:LOCKED").first.delete_suffix(":LOCKED")
          redis.del("#{lock}:LOCKED")
          redis.lpush("#{lock}:#{list}", orphan)
        end
        start
        let_go
        wait_until_done(jid)
        expect(started).to eq(jid => 2)
      end
    end
  end

  it "waits for a duplicate that began after its lock had expired" do
    jid = recover_orphan("BrieflyLockedJob")
    orphan = redis.lpop("queue:default")
    wait_until("the lock expires") { locks.empty? }
    duplicate = client.push("BrieflyLockedJob")
    worker = start
    wait_until("the duplicate runs") { started.key?(duplicate) }
    redis.rpush("queue:default", orphan)
    wait_until("the orphan waits or runs") { worker.log.include?("#{jid} has not run") || started[jid] == 2 }
    let_go
    wait_until_done(jid, duplicate)
    expect(started).to eq(jid => 2, duplicate => 1)
  end

  it "shares a lock that several may hold" do
    hold
    victim = start(args: ["-c", "2"])
    jids = Array.new(2) { client.push("LimitedJob") }
    wait_until("both run") { started.keys.sort == jids.sort }
    victim.kill
    recoverer = start(args: idle)
    wait_until("both are queued again") { queued_jids.sort == jids.sort }
    recoverer.kill
    third = client.push("LimitedJob")
    start(args: ["-c", "5"])
    wait_until("both run again") { started.values_at(*jids) == [2, 2] }
    wait_until("the third is refused") { queued.empty? && in_flight.size == 2 }
    let_go
    wait_until_done(*jids)
    expect(started).to eq(jids.to_h { |jid| [jid, 2] })
    expect(started).not_to have_key(third)
    expect(locks).to be_empty
  end

  it "keeps its lock from that gem's reaper once it is queued again" do
    jid = recover_orphan("UntilExecutedJob")
    client.look

    expect(locks.values).to eq([[jid]])
    expect(client.push("UntilExecutedJob")).to be_nil
  end

  it "runs after a duplicate that was let in when that gem's reaper found the orphan first" do
    duplicate = nil
    jid = recover_orphan("UntilExecutedJob") do
      redis.del(*redis.smembers("processes"), "processes")
      client.look
      expect(duplicate = client.push("UntilExecutedJob")).to be_a(String)
    end
    let_go
    start
    wait_until_done(jid, duplicate)
    expect(started).to eq(jid => 2, duplicate => 1)
  end

  it "leaves no lock when it dies" do
    env = { "ASSURED_JOBS_MAX_RECOVERIES" => "0", "SPEC_NO_DEATH_HANDLERS" => "true" }
    jid, victim = run_in_victim("UntilAndWhileExecutingJob", env:)
    victim.kill
    start(args: idle, env:)
    wait_until("it is dead") { redis.zcard("dead") == 1 }
    wait_until("its lock is free") { locks.empty? }
    expect(redis.zrange("dead", 0, -1).first).to include(jid)
  end

  it "waits for a duplicate that took the lock after it was reaped" do
    jid, victim = run_in_victim("UntilExecutedJob")
    victim.kill
    client.reap
    duplicate = client.push("UntilExecutedJob")
    expect(duplicate).to be_a(String)
    let_go
    start
    wait_until_done(jid, duplicate)
    expect(started).to eq(jid => 2, duplicate => 1)
  end

  it "waits for a lock that expires, where a duplicate took it" do
    ENV["SPEC_LOCK_TTL"] = "3"
    jid, victim = run_in_victim("UntilExpiredJob")
    victim.kill
    duplicate = wait_until("the lock expires") { client.push("UntilExpiredJob") }
    let_go
    start
    wait_until_done(jid, duplicate)
    expect(started).to eq(jid => 2, duplicate => 1)
  ensure
    ENV.delete("SPEC_LOCK_TTL")
  end

  # What waits for a retry is due.
  def hurry
    wait_until("it waits for its next run") { redis.zcard("retry") == 1 }
    redis.zrange("retry", 0, -1).each { |job| redis.zadd("retry", Time.now.to_f, job) }
  end

  it "comes back when its thread is killed" do
    start(env: { "SPEC_POLL" => "0.5" })
    jid = client.push("UntilAndWhileExecutingJob", "kills_its_thread")
    hurry
    wait_until_done(jid)
    expect(started).to eq(jid => 2)
  end

  it "comes back when its thread is killed and a duplicate runs when its turn comes" do
    worker = start(env: { "SPEC_POLL" => "0.5" })
    jid = client.push("UntilAndWhileExecutingJob", "kills_one_thread")
    wait_until("it waits for its next run") { redis.zcard("retry") == 1 }
    hold
    duplicate = client.push("UntilAndWhileExecutingJob", "kills_one_thread")
    wait_until("the duplicate runs") { started.key?(duplicate) }
    hurry
    wait_until("it waits for the duplicate\n#{worker.log}") { worker.log.match?(/#{jid} has not run, .*it goes back/) }
    let_go
    wait_until_done(jid, duplicate)
    expect(started).to eq(jid => 2, duplicate => 1)
  end

  it "is back in its queue where its thread has not ended at the exit" do
    jid, victim = run_in_victim("UntilAndWhileExecutingJob", "is_stubborn")
    victim.signal(:TERM)
    victim.wait_for_exit
    expect(queued_jids).to eq([jid]), victim.log
    let_go
    start
    wait_until_done(jid)
    expect(started).to eq(jid => 2)
  end

  # Without us version 8.1 of that gem runs such a job, too; those before drop it.
  it "runs when it lost its lock on the way to its thread" do
    worker = start
    jid = client.push("UntilAndWhileExecutingJob", "loses_its_lock")
    wait_until_done(jid)
    expect(worker.log).not_to include("has not run")
    expect(started).to eq(jid => 1)
  end

  it "is dropped for a duplicate that runs, as that gem has it, and logged" do
    hold
    worker = start
    first, second = Array.new(2) { client.push("WhileExecutingJob") }
    wait_until("one is dropped") { worker.log.match?(/AssuredJobs: job #{first}|#{second} has not run/) }
    let_go
    wait_until("nothing is in flight") { in_flight.empty? && finished.size == 1 }
    expect(queued).to be_empty
  end

  it "runs its retry" do
    start(env: { "SPEC_POLL" => "0.5" })
    jid = client.push("UntilAndWhileExecutingJob", "raises")
    hurry
    wait_until_done(jid)
    expect(started).to eq(jid => 2)
  end
end
