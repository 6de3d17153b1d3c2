# frozen_string_literal: true

require_relative "../support/fetch_helpers"

RSpec.describe "A job that ended without being acknowledged", :fetch do
  it "goes back when its thread was killed, and runs again" do
    start_app
    push("ThreadKillingJob", "a")
    wait_until("it is finished", within: 5) { finished.key?("a") }

    expect(started).to eq("a" => 2)
    wait_until("it is released") { in_flight.empty? }
    expect(raw_queue).to be_empty
  end

  it "goes back when its retry could not be stored, and not in a tight loop" do
    start_app
    redis.set("retry", "no sorted set")
    began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    push("FailingJob", "a")
    wait_until("it runs again") { started.fetch("a", 0) >= 3 }
    took = Process.clock_gettime(Process::CLOCK_MONOTONIC) - began
    expect(started["a"]).to be <= (took * 5) + 2

    redis.del("retry")
    wait_until("its retry is stored", within: 10) { redis.type("retry") == "zset" }
    wait_until("it is released") { in_flight.empty? }
    expect(redis.zcard("retry")).to eq(1)
    expect(raw_queue).to be_empty
  end

  it "is none of those that were acknowledged" do
    process = start_app(args: ["-c", "10"])
    500.times { |n| push("AssuredJob", n, 0) }
    20.times { |n| push("FailingJob", "failing #{n}") }
    wait_until("all have run") { finished.size == 500 && redis.zcard("retry") == 20 }
    wait_until("all are released") { in_flight.empty? }
    process.signal(:TERM)
    process.wait_for_exit

    expect(raw_queue).to be_empty
    expect(ran_twice).to be_empty
    expect(redis.zcard("retry")).to eq(20)
    expect(own_keys).to be_empty
  end
end
