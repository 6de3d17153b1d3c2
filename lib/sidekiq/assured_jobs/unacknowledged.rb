# frozen_string_literal: true

require_relative "due_jobs"
require_relative "way_in"

module Sidekiq
  module AssuredJobs
    # Jobs that end without being acknowledged: the thread was killed, or Redis took no retry. The same may happen at
    # the next run, so a job waits longer each time, and its end counts like a crash.
    # @api private
    module Unacknowledged
      module_function

      # Sees to a job that ended so. Another gem's fetcher keeps its own books of it; then it stays in flight, and is
      # handed over when the process ends.
      #
      # @param engine [Native::Engine]
      # @param attempt [Integer]
      # @param excused [Boolean] whether it does not count: a shutdown has ended the job, or it has not run
      # @return [void]
      def settle(engine, attempt, excused)
        # An engine that ends hands over by itself; afterwards the job is others'.
        return if WayIn.foreign_fetcher || !engine.equal?(AssuredJobs.running_engine)

        excused ? engine.give_back_later(attempt) : engine.end_unacknowledged(attempt, DueJobs.at_work?)
      end
    end
  end
end
