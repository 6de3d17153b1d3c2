# frozen_string_literal: true

require_relative "../support/fault_helpers"

RSpec.describe "A process that is cut off or stands still", :faults do
  { "partition" => Faults::Partition, "SIGSTOP" => Faults::ProcessPaused }.each do |what, fault|
    %w[fetch middleware].each do |way|
      it "has its jobs given to others, and goes on afterwards (#{what}, #{way})" do
        world = start_world(way:)
        # Longer than the fault, so that the late end of the first run meets the second one.
        long = begin_jobs(world, 8, Fleet::TTL * 3, manner: "work")
        world.suffer(fault.new("a"), seconds: 2.5 * Fleet::TTL)

        runs = expect_recovered(world).runs.slice(*long).values
        of_a, others = runs.partition { |first, *| first.process == "a" }
        expect(of_a.map(&:size)).to all(eq(2)).and have_attributes(size: be >= 3)
        expect(others.map(&:size)).to all(eq(1))
      end
    end
  end

  it "is never declared dead because its connections end" do
    world = start_world
    wait_until_busy(world)
    world.suffer(Faults::ConnectionsCut.new("a"), seconds: 2 * Fleet::TTL)

    expect_recovered(world)
    expect(world.places.verdicts).to be_empty
  end
end
