# frozen_string_literal: true

RSpec.describe "A preforking parent" do
  let(:app) { File.expand_path("../support/prefork.rb", __dir__) }

  def pids
    registered.to_h { |id| [id, JSON.parse(redis.hget(key("instances"), id))["pid"]] }
  end

  it "has children that are instances of their own, and opens nothing itself" do
    swarm = spawn_sidekiq(app:)
    wait_until("all children are registered\n#{swarm.log}") { registered.size == 3 }
    children = pids

    expect(children.values.uniq.size).to eq(3)
    expect(children.values).not_to include(swarm.pid)
    names = redis.client(:list).map { |client| client["name"] }
    expect(names.count("sidekiq-assured-jobs:heartbeat")).to eq(3)

    keys = Array.new(6) { |n| [push("AssuredJob", n, 4), n.to_s] }.to_h
    wait_until("jobs are in flight") { in_flight.size == 3 && started.size == 3 }
    victim, pid = children.first
    interrupted = redis.smembers(key("jobs:#{victim}")).map { |jid| keys.fetch(jid) }
    Process.kill(:KILL, pid)
    wait_until("all jobs are finished", within: 40) { finished.size == 6 }
    expect(ran_twice).to eq(interrupted)
  ensure
    pids.each_value { |child| Process.kill(:KILL, child) rescue nil } # rubocop:disable Style/RescueModifier
  end
end
