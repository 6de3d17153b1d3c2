# frozen_string_literal: true

RSpec.describe "An embedded Sidekiq", skip: !AnySidekiq::SEVEN && "Sidekiq 6 cannot be embedded" do
  let(:script) { File.expand_path("../support/embedded.rb", __dir__) }

  # @param seconds [Numeric] how long each job takes
  def start_busy(seconds)
    process = start_sidekiq(script:)
    4.times { |n| push("AssuredJob", n, seconds) }
    wait_until("jobs are in flight") { in_flight.size == 2 && started.size == 2 }
    process
  end

  it "has its jobs finished by another process when it is killed" do
    victim = start_busy(3)
    interrupted = started.keys
    expect(victim.log.scan("jobs are tracked by assured fetch").size).to eq(1)
    expect(stock_fetches).to eq(0)
    victim.kill
    start_sidekiq

    wait_until("all jobs are finished", within: 30) { finished.size == 4 }
    expect(ran_twice).to match_array(interrupted)
  end

  it "leaves nothing behind when it is stopped, although its process lives on" do
    process = start_busy(30)
    process.signal(:USR1)
    wait_until("it has ended", within: 20) { process.log.include?("The embedded Sidekiq has ended") }

    expect(process).to be_alive
    expect(queued.size).to eq(4)
    expect(own_keys).to be_empty
    wait_until("connections are closed") do
      redis.client(:list).none? { |client| client["name"].start_with?("sidekiq-assured-jobs:") }
    end
  end

  it "fetches and tracks again when it is run again" do
    process = start_sidekiq(script:)
    process.signal(:USR1)
    wait_until("it has ended") { process.log.include?("The embedded Sidekiq has ended") }
    process.signal(:USR1)
    push("AssuredJob", "again", 2)
    wait_until("it is tracked") { started == { "again" => 1 } && in_flight.size == 1 }

    wait_until("it is finished") { finished == { "again" => 1 } && in_flight.empty? }
    expect(stock_fetches).to eq(0)
  end
end
