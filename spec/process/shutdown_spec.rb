# frozen_string_literal: true

RSpec.describe "A process that is told to stop" do
  def stop(process)
    process.signal(:TERM)
    process.wait_for_exit
  end

  it "leaves no key behind" do
    process = start_sidekiq
    push("AssuredJob", "a", 0.2)
    wait_until("the job is finished") { finished.key?("a") }
    stop(process)

    expect(own_keys).to be_empty
  end

  it "ends cleanly however little its jobs wait to be recorded" do
    exits = Array.new(6) { spawn_sidekiq(env: { "ASSURED_JOBS_TRACK_TIMEOUT" => "0" }, args: ["-c", "1"]) }
    exits.each { |process| process.wait_until_ready(within: 60) }
    Process.kill(:TERM, *exits.map(&:pid))
    exits.each(&:wait_for_exit)

    expect(exits.map(&:log).grep(/did not answer at the end/)).to be_empty
    expect(own_keys).to be_empty
  end

  it "runs jobs that are longer than the timeout exactly once more" do
    first = start_sidekiq(args: ["-c", "3", "-t", "1"])
    3.times { |n| push("AssuredJob", n, 4) }
    wait_until("all are running") { started.size == 3 }
    stop(first)

    expect(queued.size).to eq(3)
    expect(own_keys).to be_empty
    start_sidekiq(args: ["-c", "3"])
    wait_until("all are finished") { finished.size == 3 }
    expect(started.values).to all(eq(2))
    expect(finished.values).to all(eq(1))
  end

  it "keeps beating while jobs drain, so that nobody takes them" do
    draining = start_sidekiq
    start_sidekiq(args: ["-q", "other"])
    push("AssuredJob", "long", 5)
    wait_until("it runs") { started.key?("long") }
    stop(draining)

    expect(finished).to eq("long" => 1)
    expect(started).to eq("long" => 1)
    expect(queued).to be_empty
    expect(Sidekiq::AssuredJobs.stats[:recovered]).to eq(0)
  end

  it "runs no job twice in a rolling restart of three processes" do
    old = Array.new(3) { spawn_sidekiq(args: ["-c", "5"]) }
    old.each(&:wait_until_ready)
    old.each_with_index do |process, turn|
      # Enough for each turn, however long the starts take.
      40.times { |n| push("AssuredJob", (40 * turn) + n, 0.2 + (n % 7 * 0.2)) }
      wait_until("jobs are in flight") { in_flight.size >= 5 }
      process.signal(:TERM)
      start_sidekiq(args: ["-c", "5"])
      process.wait_for_exit
    end

    wait_until("all jobs are finished", within: 40) { finished.size == 120 }
    expect(ran_twice).to be_empty
    expect(finished.values).to all(eq(1))
  end

  it "stores the retry of a job that raised, and holds the job until then" do
    process = start_sidekiq
    push("FailingJob", "a")
    wait_until("the retry is stored") { redis.zcard("retry") == 1 }
    stop(process)

    expect(redis.zcard("retry")).to eq(1)
    expect(redis.llen("queue:default")).to eq(0)
    expect(own_keys).to be_empty
  end

  it "tracks no job of a class that is not assured" do
    process = start_sidekiq
    push("PlainJob", "a", 1)
    wait_until("it runs") { started.key?("a") }

    expect(in_flight).to be_empty
    stop(process)
  end

  it "tracks a job of an assured class whose payload does not say so" do
    process = start_sidekiq
    push("AssuredJob", "a", 60, assured_jobs: nil)
    wait_until("it is in flight") { in_flight.size == 1 }
    process.kill
  end
end
