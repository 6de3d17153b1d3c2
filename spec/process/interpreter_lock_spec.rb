# frozen_string_literal: true

RSpec.describe "A job that holds the interpreter's lock for three TTLs" do
  it "starts once, although a heartbeat from a Ruby thread would have lapsed" do
    ttl = ServerHelpers::QUICK.fetch("ASSURED_JOBS_HEARTBEAT_TTL").to_f
    start_sidekiq
    start_sidekiq(args: ["-q", "other"])
    push("LockHoldingJob", "a", 3 * ttl, (ttl * 1000).to_i)
    wait_until("it runs") { redis.exists?("control:beat") }

    # The negative control: the same TTL, kept alive by a Ruby thread of the same process.
    wait_until("the control's heartbeat lapses", within: 2 * ttl) { !redis.exists?("control:beat") }
    expect(finished).to be_empty
    expect(registered.count { |id| redis.exists?(key("instance:#{id}")) }).to eq(2)

    wait_until("it is finished", within: 4 * ttl) { finished.key?("a") }
    expect(started).to eq("a" => 1)
  end
end
