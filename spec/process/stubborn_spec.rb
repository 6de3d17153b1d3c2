# frozen_string_literal: true

RSpec.describe "A job with a unique lock that does not end at a hard shutdown" do
  let(:app) { File.expand_path("../support/unique_contract_app.rb", __dir__) }
  let(:env) { { "ASSURED_JOBS_MAX_RECOVERIES" => "1" } }

  def push_unique(*args)
    push("StubbornJob", *args, lock_digest: "uniquejobs:d")
  end

  # Runs the job in a process of its own, which is told to stop.
  #
  # @return [SidekiqProcess] ended
  def deploy(times)
    process = start_sidekiq(app:, env:, args: ["-c", "1", "-t", "1"])
    wait_until("it runs") { started == { "a" => times } }
    process.signal(:TERM)
    process.wait_for_exit
    process
  end

  it "is recovered after any number of deploys, which do not count" do
    jid = push_unique("a", "stays")
    (1..4).each do |times|
      process = deploy(times)
      expect(in_flight).to eq([jid]), process.log
      expect(process.log).to include("leaves 1 jobs in flight")
    end
    recoverer = start_sidekiq(app:, env:, args: ["-q", "other"])
    wait_until("it is queued again") { queued.size == 1 }

    expect(queued.first).to include("jid" => jid, "assured_recoveries" => 0)
    expect(redis.zcard("dead")).to eq(0)
    expect(Sidekiq::AssuredJobs.stats).to include(recovered: 4, poisoned: 0, instances_died: 0)
    expect(recoverer.log).not_to include("instance_died")
  end

  it "is poison where it kills its process, also at a shutdown" do
    push_unique("a", "crashes")
    (1..2).each { |times| deploy(times) }
    start_sidekiq(app:, env:, args: ["-q", "other"])

    wait_until("it is dead") { redis.zcard("dead") == 1 }
    expect(Sidekiq::AssuredJobs.stats).to include(recovered: 1, poisoned: 1)
  end

  it "is released where it ends by itself" do
    push_unique("a", "ends")
    process = deploy(1)

    expect(finished).to eq("a" => 1)
    expect(queued).to be_empty
    expect(own_keys).to be_empty, process.log
  end
end
