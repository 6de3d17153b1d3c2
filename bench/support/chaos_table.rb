# frozen_string_literal: true

# What became of the jobs of each way, for people.
class ChaosTable
  HEADINGS = {
    way: "way", kills: "kills", enqueued: "enqueued", finished: "finished", lost: "lost",
    lost_retries: "of them retries", twice: "ran again", in_hand: "in hand at kills", seconds: "seconds"
  }.freeze

  # @param results [Array<ChaosResult>]
  def initialize(results)
    @results = results
  end

  # @return [String]
  def to_s
    [HEADINGS.values.join("  "), *@results.map { |result| row(result) }, *@results.flat_map { |result| told(result) }]
      .join("\n")
  end

  # Prints whether the bounds are met.
  #
  # @return [Boolean]
  def judge
    @results.reject { |result| result.way == "plain" }.map { |result| bounds(result) }.all?
  end

  private

  def row(result)
    HEADINGS.map { |name, heading| cell(result[name]).rjust(heading.size) }.join("  ")
  end

  def cell(value)
    value.is_a?(Float) ? value.round.to_s : value.to_s
  end

  def told(result)
    result.told.except("").map { |line, count| "#{result.way}: the logs of #{count} processes say: #{line}" }
  end

  # Tracking by the middleware has a gap before it, which is what assured fetch is for.
  def bounds(result)
    again = Bench.bound("#{result.way}: #{result.twice} ran again, at most #{result.in_hand} as in hand at a kill, " \
                        "#{result.unexplained.size} unexplained",
                        result.twice <= result.in_hand && result.unexplained.empty?)
    return again if result.told.keys.all? { |line| line.include?("by the middleware") }

    Bench.bound("#{result.way}: #{result.lost} lost, at most 0", result.lost.zero?) && again
  end
end
