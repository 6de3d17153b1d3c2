# frozen_string_literal: true

module Sidekiq
  module AssuredJobs
    # Prepended to Sidekiq's processor: tells {WorkInHand} of each step of a job.
    # @api private
    module Processing
      # At a hard shutdown, which pushes the job back.
      def kill(*)
        @assured_shutdown = true
        super
      end

      private

      def process(work)
        # Kept here, too: middleware may go on in a thread of its own.
        @assured_hand = hand = WorkInHand.current || WorkInHand.begin_thread
        hand.take(work)
        Fetcher.handed_on
        super
      ensure
        hand&.leave(@assured_shutdown)
      end

      def dispatch(job, *)
        @assured_hand&.parsed(job)
        super
      end

      def execute_job(*)
        @assured_hand&.begin_job
        super
      end
    end

    # Prepended to the classes of units of work.
    # @api private
    module Acknowledged
      def acknowledge
        super.tap { WorkInHand.current&.acknowledged(self) }
      end
    end
  end
end
