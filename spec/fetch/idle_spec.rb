# frozen_string_literal: true

require_relative "../support/fetch_helpers"

RSpec.describe "An idle process with assured fetch", :fetch do
  # The look at an empty queue, and scripts; a heartbeat is a script, too.
  def looks
    stats = redis.info("commandstats")
    %w[blmove evalsha].sum { |name| stats.dig(name, "calls").to_i }
  end

  let(:seldom) { { "ASSURED_JOBS_HEARTBEAT_INTERVAL" => "60", "ASSURED_JOBS_HEARTBEAT_TTL" => "180" } }

  it "looks at each queue once in two seconds, and starts a job at once" do
    start_app(env: seldom, args: ["-c", "10", "-q", "a", "-q", "b", "-q", "c"])
    waits = Array.new(30) do |n|
      pushed = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      push("StampJob", n, queue: %w[a b c][n % 3], assured_jobs: nil)
      stamp = wait_until("it has started") { redis.hget("journal:stamps", n) }
      stamp.to_f - pushed
    end
    expect(waits.sort[15]).to be < 0.05, "median of #{waits}"

    before = looks
    sleep 4
    # Three queues, two looks each; a fetch in vain after the last job; one look that began before.
    expect(looks - before).to be <= 3 * 3
  end
end
