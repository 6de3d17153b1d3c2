# frozen_string_literal: true

RSpec.describe "A process that is killed" do
  it "has its jobs finished by another one, and no other job runs twice" do
    victim = start_sidekiq(args: ["-c", "5"])
    20.times { |n| push("AssuredJob", n, 2) }
    wait_until("jobs are in flight") { in_flight.size == 5 && started.size == 5 }
    interrupted = started.keys
    victim.kill
    start_sidekiq

    wait_until("all jobs are finished", within: 40) { finished.size == 20 }
    expect(started.select { |_, times| times > 1 }.keys).to match_array(interrupted)
    expect(started.values.max).to eq(2)
    wait_until("nothing is in flight") { in_flight.empty? }
  end
end
