# frozen_string_literal: true

require_relative "../support/fault_helpers"

RSpec.describe "A Redis user with few permissions", :faults do
  def start_as(*rules)
    # Sidekiq asks for INFO when it boots.
    rules = ["on", ">secret", "~*", "&*", "+@all", *rules, "+info"]
    start_world(redis: ["--user", "worker", *rules], user: "worker:secret")
  end

  {
    "CLIENT" => %w[-client],
    "CLIENT, BLMOVE and all that is dangerous" => %w[-@dangerous -client -blmove]
  }.each do |what, rules|
    it "needs no #{what}" do
      world = start_as(*rules)
      begin_jobs(world, 8, 3)
      world.suffer(Faults::ProcessKilled.new("a"))

      expect(expect_recovered(world).repeated).not_to be_empty
    end
  end

  it "costs no job and no second run when scripts are forbidden for a while" do
    world = start_as
    wait_until_busy(world)
    revoked = Faults::PermissionsRevoked.new("worker", %w[-evalsha -eval], %w[+evalsha +eval])
    world.suffer(revoked, seconds: 1.5 * Fleet::TTL)

    expect_recovered(world)
  end
end
