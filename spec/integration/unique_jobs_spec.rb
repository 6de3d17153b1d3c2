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

  def queued_jids
    queued.map { |job| job["jid"] }
  end

  def wait_until_done(*jids, within: 20)
    wait_until("#{jids} are finished", within:) { (jids - finished.keys).empty? }
    wait_until("nothing is in flight") { in_flight.empty? }
  end

  # Which locks refuse a duplicate while the job runs, and while it is queued.
  running = { until_executing: false, until_executed: true, until_expired: true,
              until_and_while_executing: false, while_executing: false }
  waiting = running.merge(until_executing: true, until_and_while_executing: true)

  ways_in = { "assured fetch" => {}, "the middleware" => { "ASSURED_JOBS_FETCH" => "false" } }

  running.each_key do |lock|
    context "with #{lock}" do
      it "comes back after a kill, runs, and has its duplicates refused as ever" do
        jid, victim = run_in_victim(class_of(lock))
        expect(client.push(class_of(lock))).to be_nil if running[lock]
        victim.kill
        expect(client.push(class_of(lock))).to be_nil if running[lock]

        recoverer = start(args: idle)
        wait_until("it is queued again\n#{recoverer.log}") { queued_jids == [jid] }
        expect(client.push(class_of(lock))).to be_nil if waiting[lock]

        start(args: ["-c", "1"])
        wait_until("it runs again") { started[jid] == 2 }
        expect(client.push(class_of(lock))).to be_nil if running[lock]
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
          expect(client.push(class_of(lock))).to be_nil if waiting[lock]
          let_go
          start
          wait_until_done(jid)
          expect(started).to eq(jid => 2)
        end
      end
    end
  end

  # A duplicate that is queued has the lock when the orphan is found.
  %w[until_executing until_and_while_executing].each do |lock|
    ["", "reject", "replace", "raise", "log", "reschedule"].each do |answer|
      it "waits for a duplicate that came first (#{lock} #{answer}), and neither is lost" do
        job_class = answer.empty? ? class_of(lock) : class_of("#{lock}_#{answer}")
        jid, victim = run_in_victim(job_class)
        duplicate = client.push(job_class)
        expect(duplicate).to be_a(String)
        victim.kill

        recoverer = start(args: idle)
        wait_until("the refusal is logged") { recoverer.log.include?("orphan #{jid} of dead instance") }
        expect(recoverer.log).to match(/#{jid}.*a duplicate has its unique lock/)
        3.times { run_sweep }
        expect(queued_jids).to eq([duplicate])
        expect(in_flight).to eq([jid])
        expect(%w[dead schedule retry].map { |set| redis.zcard(set) }).to all(eq(0))

        recoverer.kill
        let_go
        start
        wait_until_done(jid, duplicate)
        expect(started).to eq(jid => 2, duplicate => 1)
      end
    end
  end

  it "waits for a duplicate that runs, and would make it disappear" do
    jid, victim = run_in_victim("UntilAndWhileExecutingJob")
    duplicate = client.push("UntilAndWhileExecutingJob")
    victim.kill
    # The duplicate would disappear if it came first: the orphan has the runtime lock until it is found.
    recoverer = start(args: idle)
    wait_until("the orphan waits") { recoverer.log.include?("a duplicate has its unique lock") }
    recoverer.kill
    worker = start
    wait_until("the duplicate runs") { started.key?(duplicate) }
    wait_until("the orphan waits for it\n#{worker.log}") do
      worker.log.match?(/a duplicate runs with its unique lock|#{jid} has not run, .*it goes back/)
    end
    let_go
    wait_until_done(jid, duplicate)
    expect(started).to eq(jid => 2, duplicate => 1)
  end

  it "waits for a duplicate that began when it was on its way already" do
    jid, victim = run_in_victim("UntilExecutedJob")
    victim.kill
    recoverer = start(args: idle)
    wait_until("it is queued again") { queued_jids == [jid] }
    recoverer.kill
    client.reap
    orphan = redis.lpop("queue:default")
    duplicate = client.push("UntilExecutedJob")
    worker = start
    wait_until("the duplicate runs") { started.key?(duplicate) }
    redis.lpush("queue:default", orphan)
    wait_until("the orphan waits") { worker.log.scan(/#{jid} has not run, .*it goes back/).size > 1 }
    let_go
    wait_until_done(jid, duplicate)
    expect(started).to eq(jid => 2, duplicate => 1)
  end

  %w[WhileExecutingJob UntilAndWhileExecutingJob].each do |job_class|
    it "waits for a duplicate that began after a hard shutdown had pushed it back (#{job_class})" do
      jid, victim = run_in_victim(job_class)
      victim.signal(:TERM)
      victim.wait_for_exit
      pushed_back = redis.lpop("queue:default")
      # As long as the job is queued its duplicates are refused where it has a queue lock.
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

  it "comes back when its thread is killed" do
    start
    jid = client.push("UntilAndWhileExecutingJob", "kills_its_thread")
    wait_until_done(jid)
    expect(started).to eq(jid => 2)
  end

  it "is recovered where its thread has not ended at the exit" do
    jid, victim = run_in_victim("UntilAndWhileExecutingJob", "is_stubborn")
    victim.signal(:TERM)
    victim.wait_for_exit
    expect(in_flight).to eq([jid]), victim.log
    let_go
    start
    wait_until_done(jid)
    expect(started).to eq(jid => 2)
  end

  it "comes back when it lost its lock on the way to its thread, and runs once" do
    worker = start
    jid = client.push("UntilAndWhileExecutingJob", "loses_its_lock")
    wait_until_done(jid)
    expect(worker.log).to match(/AssuredJobs: job #{jid} has not run, .*it goes back/)
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
    wait_until("the retry is stored") { redis.zcard("retry") == 1 }
    retries = redis.zrange("retry", 0, -1)
    redis.zadd("retry", Time.now.to_f, retries.first)
    wait_until_done(jid)
    expect(started).to eq(jid => 2)
  end

  def run_sweep
    run_ruby(<<~RUBY)
      require "#{app}"
      Sidekiq::AssuredJobs.reenqueue_orphans!
    RUBY
  end
end
