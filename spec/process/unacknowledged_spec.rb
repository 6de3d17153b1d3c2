# frozen_string_literal: true

require "tempfile"
require_relative "../support/own_redis"

RSpec.describe "An end without acknowledgement" do
  let(:app) { File.expand_path("../support/endings_app.rb", __dir__) }
  let(:journal) { Tempfile.new("runs") }

  after { journal.close! }

  def start(env: {}, args: ["-c", "2"], **options)
    env = { "SPEC_RUNS" => journal.path, "SPEC_POLL" => "0.2" }.merge(env)
    start_sidekiq(app:, env:, args:, **options)
  end

  def push_ending(key, how, seconds = 0, limit: 1, **options)
    push("EndingJob", key, how, seconds, assured_max_recoveries: limit, **options)
  end

  # @return [Hash{String => Integer}] how often each job has run
  def runs
    File.readlines(journal.path, chomp: true).tally
  end

  # @return [Array(Hash, Float)] the one job that waits, and for how long it does
  def waiting
    payload, due = redis.zrange("retry", 0, -1, with_scores: true).first
    payload && [JSON.parse(payload), due - Time.now.to_f]
  end

  def hurry
    redis.zrange("retry", 0, -1).each { |payload| redis.zadd("retry", 0, payload, xx: true) }
  end

  # What Sidekiq waits before its nth retry, and at most the time that the spec takes to look.
  def backoff(count)
    longest = (count**4) + 15 + (9 * (count + 1))
    ((count**4) + 10)..longest
  end

  # So many jobs run at the same time, in so many threads.
  def expect_threads(count)
    count.times { |n| push("BusyJob", n) }
    wait_until("all run at once, and have looked") { runs["#{count} threads"] == count }
    expect(finished).to be_empty
  end

  { "assured fetch" => "true", "the middleware" => "false" }.each do |way, fetch|
    context "with #{way}" do
      let(:env) { { "ASSURED_JOBS_FETCH" => fetch } }

      ["Thread.exit", "Thread#kill", "Sidekiq::Shutdown", "undumpable"].each do |how|
        it "waits, counts, and ends in the Dead set (#{how}), and costs no thread" do
          process = start(env:)
          # What the class or the push says of retries and deaths is not about this.
          push_ending("a", how, retry: how == "undumpable", dead: false)
          job, wait = wait_until("it waits") { waiting }
          expect(runs).to eq("a" => 1)
          expect(job).to include("assured_recoveries" => 1, "queue" => "default",
                                 "error_class" => "Sidekiq::AssuredJobs::UnacknowledgedEnd")
          expect(backoff(0)).to cover(wait)
          wait_until("it is in flight no more") { in_flight.empty? }
          expect(queued).to be_empty

          hurry
          wait_until("it is dead") { redis.zcard("dead") == 1 }
          wait_until("its handlers have run") { runs["dead a Sidekiq::AssuredJobs::PoisonJob"] == 1 }
          expect(runs["a"]).to eq(2)
          expect(JSON.parse(redis.zrange("dead", 0, 0).first))
            .to include("error_class" => "Sidekiq::AssuredJobs::PoisonJob", "failed_at" => be_a(Numeric))
          expect(Sidekiq::AssuredJobs.stats).to include(unacknowledged: 1, poisoned: 1)
          expect_threads(2)
          expect(process.log.scan(/a thread ended while it ran job "\h+" \("EndingJob"\)/).size)
            .to eq(how.start_with?("Thread") ? 2 : 0)
        end
      end

      it "waits longer each time" do
        start(env:)
        push_ending("a", "Thread.exit", limit: 3)
        waits = Array.new(3) do |count|
          hurry if count.positive?
          wait_until("end #{count}") { waiting&.first&.fetch("assured_recoveries") == count + 1 }
          waiting.last
        end

        waits.each_with_index { |wait, count| expect(backoff(count)).to cover(wait) }
        expect(runs).to eq("a" => 3)
      end

      it "comes back whatever client middleware has to say" do
        start(env: env.merge("SPEC_REFUSES" => "1"))
        push_ending("a", "Thread.exit", limit: 2)
        [1, 2].each do |count|
          wait_until("it waits") { waiting&.first&.fetch("assured_recoveries") == count }
          hurry
        end
        wait_until("it has run three times") { runs["a"] == 3 }
        expect(runs).not_to include("refused")
      end

      ["exit", "throw", "as it should"].each do |how|
        it "is none where Sidekiq stores a retry (#{how})" do
          start(env:)
          push_ending("a", how)
          job, = wait_until("it waits") { waiting }

          expect(job).to include("retry_count" => 0)
          expect(job).not_to include("assured_recoveries")
          wait_until("it is released") { in_flight.empty? }
          expect(runs).to eq("a" => 1)
          expect_threads(2)
        end
      end

      it "ends nothing but the thread where that waits for a job" do
        process = start(env:, args: ["-c", "4"])
        push_ending("a", "idle threads killed")
        wait_until("they are replaced") { process.log.scan("a thread ended between two jobs; another one").size == 3 }
        expect_threads(4)
        expect(in_flight.size).to eq(4)
      end

      it "leaves a shutdown that waits for no dead thread" do
        process = start(env:, args: ["-c", "3", "-t", "25"])
        3.times { |n| push_ending(n.to_s, "Thread.exit") }
        wait_until("all wait") { redis.zcard("retry") == 3 }
        process.signal(:TERM)
        process.wait_for_exit(within: 15)
        expect(own_keys - [key("stats")]).to be_empty
      end

      it "is none at a hard shutdown" do
        # No idle thread, whose BRPOP would get the job that is pushed back, and lose it when Sidekiq ends the thread.
        process = start(env:, args: ["-c", "1", "-t", "1"])
        push_ending("a", "Thread.exit", 60)
        wait_until("it runs") { runs == { "a" => 1 } }
        process.signal(:TERM)
        process.wait_for_exit

        expect(queued.map { |job| job["args"].first }).to eq(["a"])
        expect(queued.first["assured_recoveries"].to_i).to eq(0)
        expect(redis.zcard("retry")).to eq(0)
        expect(Sidekiq::AssuredJobs.stats).to include(unacknowledged: 0)
      end

      it "counts in a process that is quiet, which starts no thread anew" do
        process = start(env:)
        push_ending("a", "Sidekiq::Shutdown", 3)
        push_ending("b", "Thread.exit", 3)
        wait_until("they run") { runs.size == 2 }
        process.signal(:TSTP)
        wait_until("both wait") { redis.zcard("retry") == 2 }
        expect(process.log).not_to include("takes its place")
        process.signal(:TERM)
        process.wait_for_exit(within: 15)
        expect(redis.zcard("retry")).to eq(2)
      end

      it "is one in a fiber of middleware" do
        start(env: env.merge("SPEC_RUNS_IN" => "fiber"))
        2.times { |n| push_ending(n.to_s, "Thread.exit") }
        wait_until("both wait") { redis.zcard("retry") == 2 }
        expect_threads(2)
      end

      it "is none in a thread of middleware, for which Sidekiq's own goes on" do
        process = start(env: env.merge("SPEC_RUNS_IN" => "thread"))
        push_ending("a", "Thread.exit")
        wait_until("it has run") { runs == { "a" => 1 } && in_flight.empty? }
        expect_threads(2)
        expect(redis.zcard("retry")).to eq(0)
        expect(process.log).not_to include("a thread ended")
      end

      it "leaves a job that is not assured to Sidekiq, which pushes it back when it ends" do
        process = start(env:)
        Sidekiq::Client.push("class" => "PlainEndingJob", "args" => ["a", "Thread.exit"], "queue" => "default")
        wait_until("its thread is replaced") { process.log.include?("another one takes its place") }
        process.signal(:TERM)
        process.wait_for_exit

        expect(queued.map { |job| job["args"].first }).to eq(["a"])
        expect(runs).to eq("a" => 1)
      end
    end
  end

  it "comes before the beginning where the thread is killed that has just got the job, which goes back untouched" do
    start
    push_ending("a", "killed with a job")
    job, = wait_until("it has run, and its retry is stored") { waiting }
    expect(runs).to eq("killed" => 1, "a" => 1)
    expect(job).not_to include("assured_recoveries")
    wait_until("it is released") { in_flight.empty? }
    expect_threads(2)
  end

  context "when Redis refuses" do
    include_context "with a Redis of its own"

    # One process for each way in, each with a queue of its own.
    def start_both(url)
      { "fetch" => "true", "middleware" => "false" }.each do |way, fetch|
        start(url:, env: { "ASSURED_JOBS_FETCH" => fetch }, args: ["-c", "2", "-q", way])
      end
    end

    def both(times)
      { "fetch" => times, "middleware" => times }
    end

    def push_both(seconds = 0)
      both(1).each_key { |way| push_ending(way, "as it should", seconds, queue: way) }
    end

    def fill(full)
      redis.config(:set, "maxmemory", full ? 1 : 0)
    end

    it "a retry because it is full, the job waits among the retries" do
      skip "Sidekiq's own scheduler ends for good where its first look is refused" if Sidekiq::VERSION.to_i >= 7

      start_both(server.url)
      push_both(2)
      [1, 2].each do |run|
        wait_until("both run") { runs == both(run) }
        fill(true)
        wait_until("both have ended") { run == 1 ? counts == both(1) : redis.zcard("dead") == 2 }
        # Those who ask it for what is due are refused, too.
        fill(false)
        hurry
      end

      wait_until("their handlers have run") { runs.size == 4 }
      expect(runs.slice(*both(2).keys)).to eq(both(2))
      expect(redis.zcard("retry")).to eq(0)
    end

    # @return [Hash{String => Integer}] counts of the jobs among the retries, by queue
    def counts
      redis.zrange("retry", 0, -1).to_h { |job| JSON.parse(job).values_at("queue", "assured_recoveries") }
    end

    it "a retry by its rules, the job waits in memory, and in the end stays recorded" do
      redis.call("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-zadd")
      start_both(server.url.sub("//", "//app:pw@"))
      push_both
      wait_until("both run") { runs == both(1) }
      began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      wait_until("both run again", within: 40) { runs == both(2) }
      expect(Process.clock_gettime(Process::CLOCK_MONOTONIC) - began).to be > 12
      wait_until("both have ended") { processes.all? { |process| process.log.include?("the Dead set takes no job") } }
      expect(recorded).to eq(both(1))

      redis.call("ACL", "SETUSER", "app", "+zadd")
      wait_until("both are dead", within: 20) { redis.zcard("dead") == 2 }
      expect(runs.slice(*both(2).keys)).to eq(both(2))
      wait_until("both are released") { in_flight.empty? }
    end

    # @return [Hash{String => Integer}] counts of the jobs that are in flight, by queue
    def recorded
      names = in_flight
      payloads = names.empty? ? [] : redis.mget(names.map { |name| key("job:#{name}") }).compact
      payloads.to_h { |payload| JSON.parse(payload).values_at("queue", "assured_recoveries") }
    end
  end
end
