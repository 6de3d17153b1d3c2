# frozen_string_literal: true

require_relative "../support/fault_helpers"

RSpec.describe "A Redis that is away for longer than any heartbeat lasts", :faults do
  # A reboot takes a minute: FAULTS_OUTAGE=60.
  let(:seconds) { ENV.fetch("FAULTS_OUTAGE", 2.5 * Fleet::TTL).to_f }
  # Nothing is lost that was acknowledged.
  let(:durable) { ["--appendonly", "yes", "--appendfsync", "always"] }

  def outage(way)
    world = start_world(way:, redis: durable)
    wait_until_busy(world)
    world.suffer(Faults::RedisKilled.new, seconds:)
    world
  end

  it "comes back, and no job is lost or runs twice" do
    world = outage("fetch")

    expect_recovered(world)
    expect(world.places.verdicts).to be_empty
  end

  it "comes back, and no job that had begun is lost or runs twice without assured fetch" do
    world = outage("middleware")
    world.expect_work
    world.settle

    check = world.check
    expect(check).to have_attributes(lost_after_start: [], unexplained: []), -> { "#{check}\n#{world.fleet.logs}" }
    expect_clean_end(world)
  end

  def outage_with_a_kill(way)
    world = start_world(way:, redis: durable)
    begin_jobs(world, 8, seconds + 2)
    world.suffer(Faults::RedisKilled.new, seconds:) { world.suffer(Faults::ProcessKilled.new("a")) }
    world
  end

  %w[fetch middleware].each do |way|
    it "comes back, and so do the jobs of a process that was killed meanwhile (#{way})" do
      check = expect_recovered(outage_with_a_kill(way))
      expect(check.repeated).not_to be_empty
    end
  end

  it "takes such jobs along without the gem" do
    world = outage_with_a_kill("plain")
    world.settle
    expect(world.check.lost).not_to be_empty
  end
end
