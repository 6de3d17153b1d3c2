# frozen_string_literal: true

require_relative "../../bench/support/chaos"

RSpec.describe "Processes under load that are killed at random instants" do
  def chaos(way)
    Chaos.new(way:, kills: 8, seed: RSpec.configuration.seed).run
  end

  it "lose no job, and run again only what was in hand" do
    result = chaos("fetch")

    expect(result.lost).to eq(0), result.to_s
    expect(result.in_hand).to be > result.kills, result.to_s
    expect(result.twice).to be_between(1, result.in_hand), result.to_s
    expect(result.unexplained).to be_empty, result.to_s
  end

  it "lose many jobs without the gem" do
    result = chaos("plain")

    expect(result.lost).to be > 3 * result.kills, result.to_s
  end
end
