# frozen_string_literal: true

RSpec.describe "An iterable job", skip: !defined?(Sidekiq::IterableJob) && "Sidekiq has them since 7.3" do
  let(:app) { File.expand_path("../support/iterable_app.rb", __dir__) }
  let(:steps) { Array.new(12, &:to_s) }

  def start_and_iterate(**options)
    process = start_sidekiq(app:, **options)
    @jid = push("IterableJob", steps.size, 0.25)
    wait_until("it is in the middle") { finished.size >= 4 }
    expect(in_flight).to eq([@jid])
    process
  end

  it "is queued again when it is interrupted, and released" do
    process = start_and_iterate
    process.signal(:TERM)
    process.wait_for_exit

    expect(queued.map { |job| job["jid"] }).to eq([@jid])
    expect(own_keys).to be_empty
    start_sidekiq(app:)
    wait_until("it is finished") { finished.size == steps.size }
    expect(finished).to eq(steps.to_h { |step| [step, 1] })
  end

  it "is recovered when its process is killed" do
    start_and_iterate.kill
    start_sidekiq(app:)

    wait_until("it is finished", within: 30) { finished.keys.sort == steps.sort }
    wait_until("it is released") { in_flight.empty? }
    expect(redis.llen("queue:default")).to eq(0)
  end
  it "is not queued again by a process that has lost its lease" do
    start_sidekiq(app:, args: ["-q", "other"])
    victim = start_and_iterate(args: ["-c", "1"])
    victim.signal(:STOP)
    wait_until("it is recovered", within: 20) { queued.size == 1 }
    victim.signal(:TERM)
    victim.signal(:CONT)
    victim.wait_for_exit

    expect(queued.map { |job| job["jid"] }).to eq([@jid]), victim.log
    expect(redis.zcard("retry")).to eq(0)
    start_sidekiq(app:)
    wait_until("the newer attempt is finished") { finished.keys.sort == steps.sort }
    wait_until("nothing is in flight") { in_flight.empty? }
  end

  it "is not lost by a process that dies between push and release" do
    # Its one thread is busy, so that it does not fetch the job that it pushes.
    victim = start_and_iterate(args: ["-c", "1"], env: { "SPEC_DEATH_AFTER_PUSH" => "1" })
    victim.signal(:TERM)
    victim.wait_for_exit
    expect(queued.map { |job| job["jid"] } + in_flight).to eq([@jid, @jid])

    start_sidekiq(app:)
    wait_until("it is recovered") { Sidekiq::AssuredJobs.stats[:recovered] == 1 }
    wait_until("it is finished", within: 30) { finished.keys.sort == steps.sort && in_flight.empty? }
    expect(queued).to be_empty
  end
end
