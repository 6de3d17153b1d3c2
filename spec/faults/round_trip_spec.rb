# frozen_string_literal: true

require_relative "../support/fault_helpers"

RSpec.describe "A round trip of the engine that goes wrong", :faults do
  {
    "a command that does not arrive (fetch)" => ["fetch", :before, :cut],
    "a reply that is lost (fetch)" => ["fetch", :after, :cut],
    "a reply that is lost (middleware)" => ["middleware", :after, :cut],
    "a reply that is late (fetch)" => ["fetch", :after, 0.3]
  }.each do |what, (way, instant, mishap)|
    it "costs no job and no second run: #{what}" do
      world = start_world(way:)
      wait_until_busy(world)
      world.suffer(Faults::RoundTripsHurt.new("a", instant, mishap), seconds: 2 * Fleet::TTL)

      expect_recovered(world)
      expect(world.places.verdicts).to be_empty
    end
  end
end
