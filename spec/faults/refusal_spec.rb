# frozen_string_literal: true

require_relative "../support/fault_helpers"

RSpec.describe "A Redis that answers, and refuses", :faults do
  # What it says, and what makes it say so.
  refusals = {
    "OOM" => Faults::RedisFull, "READONLY" => Faults::RedisReadOnly, "BUSY" => Faults::RedisBusy,
    "NOSCRIPT" => Faults::ScriptsFlushed, "nothing" => Faults::RedisFrozen
  }

  refusals.to_a.product(%w[fetch middleware]).each do |(answer, fault), way|
    it "costs no job and no second run: #{answer} (#{way})" do
      world = start_world(way:)
      wait_until_busy(world)
      world.suffer(fault.new, seconds: 1.5 * Fleet::TTL)

      expect_recovered(world)
      expect(world.places.verdicts).to be_empty
    end
  end
end
