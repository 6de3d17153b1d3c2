# frozen_string_literal: true

require_relative "../support/fault_helpers"

RSpec.describe "A process whose clock is stepped by an hour", :faults do
  let(:clock) { Tempfile.new("clock").tap { |file| File.write(file.path, "+0\n") } }

  before { skip "libfaketime is not installed" unless Faketime.library }

  # What the process takes for the time stands in its heartbeat.
  def ahead(world)
    world.redis.get("#{JobPlaces::PREFIX}:instance:a").to_f - Time.now.to_f
  end

  { "forward" => 3600, "back" => -3600 }.each do |direction, seconds|
    it "loses no job and has none run twice (#{direction})" do
      world = start_world(own: { "a" => Faults::ClockStepped.environment(clock.path) })
      wait_until_busy(world)
      world.suffer(Faults::ClockStepped.new(clock.path, seconds), seconds: 1.5 * Fleet::TTL) do
        Wait.wait_until("its clock is stepped") { (ahead(world) - seconds).abs < 60 }
      end

      expect_recovered(world)
      expect(world.places.verdicts).to be_empty
    end
  end
end
