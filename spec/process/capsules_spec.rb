# frozen_string_literal: true

RSpec.describe "A process with two capsules", skip: !AnySidekiq::SEVEN && "Sidekiq 6 has no capsules" do
  let(:app) { File.expand_path("../support/capsules_app.rb", __dir__) }
  let(:queues) { %w[default second] }

  # @return [SidekiqProcess] with both threads of both capsules at work
  def start_busy(args: [], seconds: 2)
    process = start_sidekiq(app:, args:)
    queues.each { |queue| 3.times { |n| push("AssuredJob", "#{queue} #{n}", seconds, queue:) } }
    wait_until("both capsules work") { in_flight.size == 4 && started.size == 4 }
    process
  end

  it "fetches for each capsule from its own queues, as many jobs as it has threads" do
    process = start_busy

    expect(started.keys.map { |key| key.split.first }.tally).to eq("default" => 2, "second" => 2)
    expect(queues.map { |queue| redis.llen("queue:#{queue}") }).to eq([1, 1])
    expect(registered.size).to eq(1)
    expect(process.log).to include("jobs are tracked by assured fetch")
    expect(stock_fetches).to eq(0)
  end

  it "has the jobs of both finished by another one when it is killed" do
    victim = start_busy
    interrupted = started.keys
    victim.kill
    start_sidekiq(app:, args: [])

    wait_until("all jobs are finished", within: 30) { finished.size == 6 }
    expect(ran_twice).to match_array(interrupted)
    wait_until("nothing is in flight") { in_flight.empty? }
  end

  it "puts unfinished jobs back into the queues that they came from" do
    process = start_busy(args: ["-t", "1"], seconds: 10)
    process.signal(:TERM)
    process.wait_for_exit

    queues.each do |queue|
      expect(queued(queue).map { |job| job["args"].first }).to match_array(Array.new(3) { |n| "#{queue} #{n}" })
    end
    expect(own_keys).to be_empty
  end

  it "has jobs without the flag in flight, although a capsule copied its middleware before the gem was loaded" do
    start_sidekiq(app: File.expand_path("../support/early_chain_app.rb", __dir__))
    jid = Sidekiq::Client.push("class" => "AssuredJob", "args" => ["a", 5])
    wait_until("it runs") { started.key?("a") }

    expect(in_flight).to eq([jid])
  end
end
