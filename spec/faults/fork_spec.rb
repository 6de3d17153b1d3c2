# frozen_string_literal: true

require_relative "../support/fault_helpers"

RSpec.describe "A job that forks", :faults do
  it "is neither given away by a child that ends, nor kept alive by one that lives on" do
    world = start_world
    calm = begin_jobs(world, 8, 2, manner: "fork")
    Wait.wait_until("they have ended") { (calm - world.history.subjects(:finished)).empty? }
    expect(world.check.repeated).to be_empty

    struck = begin_jobs(world, 8, 2, manner: "fork")
    world.suffer(Faults::ProcessKilled.new("a"))
    check = expect_recovered(world)
    expect(check.repeated).to match_array(struck.select { |id| check.runs[id].first.process == "a" })
    expect(check.repeated).not_to be_empty
  end
end
