# frozen_string_literal: true

require_relative "../support/fault_helpers"

# What Redis loses of a queue is lost. Of what is in flight nothing is, because each process knows what it holds.
RSpec.describe "A Redis that has lost data", :faults do
  %w[fetch middleware].each do |way|
    it "gets its in-flight records back within one heartbeat when it comes back empty (#{way})" do
      world = start_world(way:)
      long = begin_jobs(world, 8, 4)
      world.suffer(Faults::RedisKilled.new(empty: true))

      # One heartbeat; the rest is for a busy machine.
      Wait.wait_until("the records are back\n#{world.fleet.logs}", within: 3 * Fleet::INTERVAL) do
        (long - world.places.pending).empty?
      end
      world.suffer(Faults::ProcessKilled.new("a"))
      check = expect_recovered(world)
      expect(check.runs.slice(*long).values.map(&:size)).to include(2), -> { check.to_s }
    end
  end

  it "gets none back from a process that dies before it beats again" do
    world = start_world
    long = begin_jobs(world, 8, 2)
    world.suffer(Faults::ProcessPaused.new("a")) do
      world.suffer(Faults::RedisKilled.new(empty: true))
      world.fleet.bury("a")
    end
    world.settle

    check = world.check
    expect(check.lost).to match_array(long.select { |id| check.runs[id].first.process == "a" })
    expect(check.lost).not_to be_empty
  end

  %w[fetch middleware].each do |way|
    it "has lost the last writes at a failover: what runs is recorded anew, what ended stays ended (#{way})" do
      world = start_world(way:)
      failover = Faults::Failover.new
      before = begin_jobs(world, 6, 1.5)
      failover.prepare(world)
      running = nil
      world.suffer(failover, seconds: 1) do
        Wait.wait_until("all have ended") { (before - world.history.subjects(:finished)).empty? }
        running = begin_jobs(world, 4, 7)
      end

      Wait.wait_until("what runs is recorded\n#{world.fleet.logs}") { world.places.pending.sort == running.sort }
      world.suffer(Faults::ProcessKilled.new("a", successor: "c"))
      check = expect_recovered(world)
      expect(check.runs.slice(*before).values.map(&:size)).to all(eq(1)), -> { check.to_s }
    end
  end
end
