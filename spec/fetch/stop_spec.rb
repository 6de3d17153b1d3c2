# frozen_string_literal: true

require_relative "../support/fetch_helpers"

RSpec.describe "A process with assured fetch that is told to end", :fetch do
  let(:payloads) { ['{"class":"X","args":[[]],"jid":"a","assured_jobs":true}', '{"class":"X","args":[[]],"jid":"p"}'] }

  it "puts a job back untouched that is handed over after it was told to be quiet" do
    fetch = fetcher(["default"])
    push_raw(*payloads)
    units = Array.new(2) { fetch.retrieve_work }
    units.reverse_each(&:requeue)

    expect(raw_queue).to eq(payloads)
    expect(in_flight).to be_empty
    expect(fetch.retrieve_work.job).to eq(payloads.first)
  end

  it "runs nothing more once it is quiet, and leaves the queue as it is" do
    process = start_app
    process.signal(:TSTP)
    wait_until("it is quiet") { process.log.match?(/Terminating quiet (workers|threads)/) }
    jobs = Array.new(30) do |n|
      %({"class":"#{n.even? ? "AssuredJob" : "PlainJob"}","args":["#{n}",0],"jid":"#{n}","assured_jobs":#{n.even?}})
    end
    push_raw(*jobs)
    process.signal(:TERM)
    process.wait_for_exit

    expect(raw_queue).to match_array(jobs)
    expect(started).to be_empty
    expect(own_keys).to be_empty
  end

  it "under full load: leaves each unfinished job in its queue exactly once, and no record" do
    jobs = Array.new(400) { |n| [n.to_s, (n % 20).zero? ? 30 : 0.02] }
    jobs.each { |key, seconds| push("AssuredJob", key, seconds) }
    process = start_app(args: ["-c", "10", "-t", "1"])
    wait_until("it is at work") { finished.size >= 50 }
    process.signal(:TERM)
    process.wait_for_exit

    left = queued.map { |job| job["args"].first }
    expect(left.tally.values.uniq).to eq([1])
    expect((left + finished.keys).sort).to eq(jobs.map(&:first).sort)
    expect(started.values.uniq).to eq([1])
    expect(own_keys).to be_empty
  end
end
