# frozen_string_literal: true

require_relative "../../spec/support/job_supply"

# The jobs that a nemesis pushes: short and long ones, ones that raise or end their thread, ones that are scheduled,
# ones that are not assured.
class NemesisLoad
  # @param random [Random]
  # @param ttl [Numeric] seconds; the longest job takes three times as long
  def initialize(random, ttl)
    @random = random
    @ttl = ttl
  end

  # @return [JobSupply::Job] most are short, one in ten is longer than a heartbeat lasts
  def draw
    JobSupply::Job.new(
      seconds: (@random.rand**10) * 3 * @ttl,
      manner:,
      # Of those that raise, some go to the Dead set at once.
      retries: one_in(4) ? 0 : true,
      delay: one_in(10) ? @random.rand * 2 * @ttl : nil,
      assured: !one_in(10)
    )
  end

  private

  def manner
    return "exit" if one_in(50)

    one_in(20) ? "raise" : "work"
  end

  def one_in(count)
    @random.rand(count).zero?
  end
end
