# frozen_string_literal: true

require_relative "assured_classes"
require_relative "fencing"
require_relative "integrations/unique_jobs"
require_relative "lease"
require_relative "recovery_count"
require_relative "work_in_hand"

module Sidekiq
  module AssuredJobs
    # Server middleware: no assured job begins before it is recorded as in flight. In a Sidekiq process the job
    # stays so until Sidekiq acknowledges it ({WorkInHand}); by itself, the middleware releases it after the block.
    class Middleware
      # @param worker [Object] instance of the job class
      # @param job [Hash] parsed payload
      # @param queue [String] queue name without `queue:`
      # @yield the job
      # @return [Object] what the block returns
      def call(worker, job, queue, &)
        hand = WorkInHand.of(job)
        assured = AssuredClasses.assured?(job)
        hand&.disclaim unless assured
        return yield unless assured && tracked?
        return run_apart(worker, job, queue, &) unless hand

        hand.track(job)
        run_in_hand(worker, hand, job, &)
      end

      private

      def run_in_hand(worker, hand, job, &)
        hand.in_this_thread { run(worker, hand.lease, job, &) }.tap do
          hand.go_back if !hand.began? && UniqueJobs.dropped?(job)
        end
      end

      def run(worker, lease, job, &)
        worker.assured_lease = lease if worker.is_a?(Worker)
        Fencing.guard(lease, job, &)
      end

      # Inside another assured job (`perform_inline`) it is a part of that one, which comes back as a whole.
      def run_apart(worker, job, queue, &)
        outer = WorkInHand.lease
        return track_by_itself(worker, job, queue, &) unless outer

        worker.assured_lease = outer if worker.is_a?(Worker)
        yield
      end

      def track_by_itself(worker, job, queue, &)
        engine = AssuredJobs.engine
        attempt = engine.track(job["jid"].to_s, queue, Sidekiq.dump_json(job))
        begin
          engine.await_record(attempt)
          lease = Lease.new(engine, attempt, job)
          RecoveryCount.forget(job)
          run(worker, lease, job, &)
        ensure
          engine.release(attempt)
          # Callers look at once.
          engine.flush(AssuredJobs.track_timeout)
        end
      end

      # Where there is no room for an engine, a job runs all the same.
      def tracked?
        !testing? && AssuredJobs.engine_if_possible
      end

      def testing?
        defined?(Sidekiq::Testing) && (Sidekiq::Testing.fake? || Sidekiq::Testing.inline?)
      end
    end
  end
end
