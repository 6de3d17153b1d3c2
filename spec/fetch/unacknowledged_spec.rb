# frozen_string_literal: true

require_relative "../support/fetch_helpers"

RSpec.describe "A job that ended without being acknowledged", :fetch do
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
