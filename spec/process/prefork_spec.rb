# frozen_string_literal: true

RSpec.describe "A preforking parent" do
  let(:app) { File.expand_path("../support/prefork.rb", __dir__) }

  it "has children that are instances of their own, and opens nothing itself" do
    swarm = spawn_sidekiq(app:)
    wait_until("both children are registered\n#{swarm.log}") { registered.size == 2 }
    children = registered.map { |id| JSON.parse(redis.hget(key("instances"), id))["pid"] }

    expect(children.uniq.size).to eq(2)
    expect(children).not_to include(swarm.pid)
    connections = redis.client(:list).select { |client| client["name"].start_with?("sidekiq-assured-jobs:") }
    # Pipeline, heartbeat, sweep and the watch of one queue of each child.
    expect(connections.size).to be <= 8

    4.times { |n| push("AssuredJob", n, 1) }
    wait_until("jobs are in flight") { in_flight.size == 2 && started.size == 2 }
    Process.kill(:KILL, children.first)
    wait_until("all jobs are finished", within: 20) { finished.size == 4 }
    expect(ran_twice.size).to eq(1)
  ensure
    children&.each { |pid| Process.kill(:KILL, pid) rescue nil } # rubocop:disable Style/RescueModifier
  end
end
