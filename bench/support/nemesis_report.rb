# frozen_string_literal: true

# What a nemesis found, for people.
class NemesisReport
  # Jobs whose whole story is told.
  STORIES = 5

  # @param result [Nemesis::Result]
  # @param kinds [Array<NemesisFaults::Kind>] those that were to choose from
  # @param way [String] key of {Fleet::WAYS}
  def initialize(result, kinds:, way:)
    @result = result
    @check = result.check
    @kinds = kinds
    @way = way
  end

  # @return [String] one table
  def to_s
    rows = [["faults", nil], *faults, ["jobs", nil], *jobs]
    width = rows.map { |name, _| name.size }.max + 2
    rows.map { |name, count| count ? "  #{name.ljust(width)}#{count.to_s.rjust(6)}" : name }.join("\n")
  end

  # Prints whether the bounds are met.
  #
  # @return [Boolean]
  def judge
    figures = [
      # Tracking by the middleware has a gap before it, which is what assured fetch is for.
      (["lost", lost.size] unless @way == "middleware"),
      ["ran again without a reason", @check.unexplained.size],
      ["left over in Redis", @result.left_over.size],
      ["failures", @result.failures.size]
    ].compact
    figures.map { |name, count| Bench.bound("#{count} #{name}, at most 0", count.zero?) }.all?
  end

  # @return [String] all that is known of what went wrong
  def stories
    wrong = @check.unexplained | lost | @check.unfinished | @check.pending
    stories = wrong.first(STORIES).map { |job| "job #{job}\n#{@check.story(job)}" }
    stories << "and #{wrong.size - STORIES} more: #{wrong.drop(STORIES).join(" ")}" if wrong.size > STORIES
    left_over = @result.left_over.map { |name| "left over: #{name}" }
    [*@result.failures, *left_over, *stories].join("\n\n")
  end

  private

  # Jobs for whose loss the faults are no excuse.
  def lost
    @check.lost - @check.lost_by_redis
  end

  def faults
    counts = @check.faults.map { |fault| fault.name[/\A\w+/] }.tally
    @kinds.map { |kind| [kind.name, counts.fetch(kind.name, 0)] }
  end

  def jobs
    [*whereabouts, *runs, ["left over in Redis", @result.left_over.size]]
  end

  # Each accepted job is finished, dead, pending, or lost in one of two ways.
  def whereabouts
    accepted = @check.accepted
    ended = @check.finished | @check.dead
    [
      ["accepted", accepted.size], ["finished", (accepted & @check.finished).size],
      ["dead", ((accepted & @check.dead) - @check.finished).size],
      ["pending", (@check.unfinished & @check.pending).size],
      ["lost by Redis itself", @check.lost_by_redis.size], ["lost", lost.size],
      ["run without an answer to their push", (ended - accepted).size]
    ]
  end

  def runs
    unexplained = @check.unexplained
    [
      ["ran again (explained)", (@check.repeated - unexplained).size],
      ["of them because of a fault", (@check.repeated_by_faults - unexplained).size],
      ["unexplained", unexplained.size]
    ]
  end
end
