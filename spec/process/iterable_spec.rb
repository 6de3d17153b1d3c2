# frozen_string_literal: true

RSpec.describe "An iterable job", skip: !defined?(Sidekiq::IterableJob) && "Sidekiq has them since 7.3" do
  let(:app) { File.expand_path("../support/iterable_app.rb", __dir__) }
  let(:steps) { Array.new(12, &:to_s) }

  def start_and_iterate
    process = start_sidekiq(app:)
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
end
