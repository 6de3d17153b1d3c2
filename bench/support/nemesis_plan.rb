# frozen_string_literal: true

# Which faults strike when. The seed decides all of it.
class NemesisPlan
  # How many faults an episode has: most have one, some overlap.
  CROWDS = [1, 1, 1, 2, 2, 3].freeze

  # @!attribute slot
  #   @return [String] instance id; nil for a fault of Redis
  # @!attribute after
  #   @return [Float] seconds from the start of the episode
  # @!attribute seconds
  #   @return [Float] how long it lasts
  # @!attribute draw
  #   @return [Float] from 0 up to 1, for what else there is to decide
  Strike = Struct.new(:kind, :slot, :after, :seconds, :draw)

  # Faults that overlap, and then a quiet time in seconds.
  Episode = Struct.new(:strikes, :quiet) do
    # @return [Float]
    def seconds
      strikes.map { |strike| strike.after + strike.seconds }.max + quiet
    end
  end

  # @param random [Random]
  # @param kinds [Array<NemesisFaults::Kind>]
  # @param slots [Array<String>] instance ids
  # @param ttl [Numeric] measure of all times
  def initialize(random, kinds:, slots:, ttl:)
    @random = random
    @kinds = kinds
    @slots = slots
    @ttl = ttl
    @bag = []
  end

  # @param seconds [Numeric] that it takes in all, about
  # @return [Array<Episode>]
  def episodes(seconds)
    planned = 0
    episodes = []
    while planned < seconds
      episodes << episode
      planned += episodes.last.seconds
    end
    episodes
  end

  private

  def episode
    strikes = Array.new(CROWDS.sample(random: @random)) { next_kind }.each_with_object([]) do |kind, chosen|
      slot = slot_for(kind, chosen)
      chosen << strike(kind, slot) unless slot == :none
    end
    Episode.new(in_order(strikes), @random.rand * @ttl)
  end

  # Each kind comes once before any comes again.
  def next_kind
    @bag = @kinds.shuffle(random: @random) if @bag.empty?
    @bag.pop
  end

  # One fault of Redis at a time. One of a process, but for a process that ends in the middle of another fault.
  #
  # @return [String, nil, Symbol] `:none` if there is no room
  def slot_for(kind, chosen)
    rivals = chosen.select { |strike| strike.kind.rival?(kind) }
    return rivals.empty? ? nil : :none if kind.scope == :redis

    slots = kind.name == "ClockStepped" ? [NemesisFaults::CLOCKED] : @slots
    (slots - rivals.map(&:slot)).sample(random: @random) || :none
  end

  def strike(kind, slot)
    Strike.new(kind, slot, @random.rand * @ttl, (0.1 + (@random.rand * 2)) * @ttl, @random.rand)
  end

  # Begins at once. A process that has ended can suffer nothing any more.
  def in_order(strikes)
    first = strikes.map(&:after).min
    strikes.group_by(&:slot).each_value do |of_one|
      times = of_one.map { |strike| strike.after - first }.sort
      by_end = of_one.partition { |strike| !strike.kind.ends }.flatten
      by_end.zip(times) { |strike, after| strike.after = after }
    end
    strikes
  end
end
