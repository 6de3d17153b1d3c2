# frozen_string_literal: true

require_relative "../../bench/support/nemesis_faults"
require_relative "../../bench/support/nemesis_plan"

RSpec.describe NemesisPlan do
  let(:kinds) { NemesisFaults.kinds(lossy: true) }

  def episodes(seed)
    described_class.new(Random.new(seed), kinds:, slots: %w[a b c d], ttl: 3).episodes(600)
  end

  it "is the same for the same seed" do
    expect(episodes(7)).to eq(episodes(7))
    expect(episodes(7)).not_to eq(episodes(8))
  end

  it "takes about as long as it is to take, and has each kind about as often as any other" do
    episodes = episodes(1)
    counts = episodes.flat_map(&:strikes).map { |strike| strike.kind.name }.tally

    expect(episodes.sum(&:seconds)).to be_between(600, 630)
    expect(counts.keys).to match_array(kinds.map(&:name))
    expect(counts.values.min).to be > counts.values.max / 3
  end

  it "has faults that overlap, but none that are in each other's way" do
    crowds = (1..20).flat_map { |seed| episodes(seed) }.map(&:strikes)

    expect(crowds.map(&:size).tally.keys).to contain_exactly(1, 2, 3)
    crowds.each do |strikes|
      expect(strikes.count { |strike| strike.kind.scope == :redis }).to be <= 1
      strikes.reject { |strike| strike.slot.nil? }.group_by(&:slot).each_value do |of_one|
        expect(of_one.map { |strike| strike.kind.ends }.tally.values).to all(eq(1))
        expect(of_one.max_by(&:after).kind.ends).to be(true) if of_one.size > 1
      end
    end
  end
end
