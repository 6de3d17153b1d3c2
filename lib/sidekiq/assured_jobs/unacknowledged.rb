# frozen_string_literal: true

require_relative "log"
require_relative "push_back"
require_relative "unique_lock"
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
      # @param payload [String]
      # @param excuse [Symbol, nil] why it does not count: `:shutdown`, which has ended it; or it has not run, and goes
      #   back `:untouched`, not through client middleware in any case, or `:readmitted` by it
      # @return [void]
      def settle(engine, attempt, payload, excuse)
        # An engine that ends hands over by itself; afterwards the job, and its lock, are others'.
        return if WayIn.foreign_fetcher || !engine.equal?(AssuredJobs.running_engine)

        # Who has lost the lease must not take the lock: nobody would let go of it.
        unique = UniqueLock.in?(payload) && excuse != :untouched && !engine.lost?(attempt)
        return count(engine, attempt, unique) unless excuse

        unique ? PushBack.readmit(engine, attempt, payload) : engine.give_back_later(attempt)
      ensure
        PushBack.await_no_longer(attempt)
      end

      # Where a retry is due whose lock a duplicate has, client middleware refuses it. So a job with a lock waits here.
      def count(engine, attempt, unique)
        payload, seconds = engine.next_run(attempt) if unique
        return engine.end_unacknowledged(attempt) unless payload

        Log.warn do
          "a job with a unique lock ended without acknowledgement; it goes back in #{seconds.round} s"
        end
        engine.keep(attempt)
        PushBack.readmit_later(engine, attempt, payload, seconds)
      end
    end
  end
end
