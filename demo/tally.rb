# frozen_string_literal: true

# The result, from what the jobs wrote down.
class Tally
  # @param jobs [Array<JobHistory>]
  # @param interrupted [Array<JobHistory>] in flight at the kill
  def initialize(jobs, interrupted)
    @jobs = jobs
    @interrupted = interrupted
  end

  # @return [Integer]
  def lost
    @jobs.count { |job| !job.finished? }
  end

  # @return [String] why some ran twice
  def explanation
    return "No job ran twice" if twice.empty?

    if twice == recovered && twice == @interrupted
      "Ran twice: just the #{twice.size} recovered jobs, which the kill interrupted and which started again"
    else
      "Ran twice: #{names(twice)}. Interrupted by the kill: #{names(@interrupted)}. Recovered: #{names(recovered)}"
    end
  end

  # @return [String]
  def to_s
    "enqueued #{@jobs.size} · finished #{@jobs.size - lost} · recovered #{recovered.size} · lost #{lost} · " \
      "ran twice #{twice.size}"
  end

  private

  def recovered
    @jobs.select(&:recovered?)
  end

  def twice
    @jobs.select { |job| job.runs.size > 1 }
  end

  def names(jobs)
    jobs.empty? ? "none" : jobs.map(&:label).join(" ")
  end
end
