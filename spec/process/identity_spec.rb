# frozen_string_literal: true

RSpec.describe "The identity of a process" do
  def named(name)
    { "ASSURED_JOBS_INSTANCE_ID" => name }
  end

  def start_and_kill(name)
    process = start_sidekiq(env: named(name), args: ["-c", "2"])
    2.times { |n| push("AssuredJob", "#{name} #{n}", 3) }
    wait_until("both are in flight") { redis.scard(key("jobs:#{name}")) == 2 && started.size == 2 }
    process.kill
  end

  it "is the name that was asked for, where that is free" do
    start_sidekiq(env: named("pod-a"))

    expect(registered).to eq(["pod-a"])
    expect(redis.get(key("instance:pod-a")).to_f).to be_within(5).of(Time.now.to_f)
  end

  it "does not hide the orphans of its last owner when a process restarts within the TTL" do
    start_and_kill("pod-a")
    expect(redis.exists?(key("instance:pod-a"))).to be(true)
    start_sidekiq(env: named("pod-a"))

    expect(registered).to include(a_string_matching(/\Apod-a:\h+\z/))
    wait_until("the orphans are finished") { finished.size == 2 }
    expect(started.values).to all(eq(2))
  end

  it "does not hide the orphans of its last owner when a process restarts after the TTL" do
    start_and_kill("pod-a")
    wait_until("the heartbeat is gone") { !redis.exists?(key("instance:pod-a")) }
    start_sidekiq(env: named("pod-a"))

    wait_until("the orphans are finished") { finished.size == 2 }
    expect(started.values).to all(eq(2))
  end

  it "is shared by no two processes that live" do
    Array.new(2) { spawn_sidekiq(env: named("same"), args: ["-c", "1"]) }.each(&:wait_until_ready)
    4.times { |n| push("AssuredJob", n, 5) }
    wait_until("both work") { in_flight.size == 2 }

    expect(registered).to contain_exactly("same", a_string_matching(/\Asame:\h+\z/))
    expect(registered.map { |id| redis.scard(key("jobs:#{id}")) }).to eq([1, 1])
  end

  it "may hold colons, which hide nobody" do
    start_and_kill("pod-a:1")
    start_sidekiq(env: named("pod-b:1"))

    wait_until("the orphans are finished") { finished.size == 2 }
  end

  it "may hold anything" do
    name = "né \"[*]\\ \n<b>"
    start_and_kill(name)
    start_sidekiq(env: named("other"))

    wait_until("the orphans are finished") { finished.size == 2 }
    expect(registered).to eq(["other"])
  end
end
