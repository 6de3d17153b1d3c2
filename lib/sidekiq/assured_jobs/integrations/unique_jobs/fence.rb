# frozen_string_literal: true

module Sidekiq
  module AssuredJobs
    module UniqueJobs
      # Prepended to that gem's class for one job's hold of one lock. An attempt whose lease is lost has the jid of the
      # newer one: what it unlocks at its late end is the newer one's, and what it locks then, to keep it for a retry,
      # nobody unlocks.
      # @api private
      module Fence
        def unlock(*)
          hand = hand_of_job
          return super unless hand
          return if lost?(hand)

          # What is unlocked before the job begins is the queue lock, which decides what may be pushed. A job that was
          # accepted, and has come up, must not disappear because that lock is gone, or a duplicate's by now.
          super || (job_id unless hand.began?)
        end

        def lock(*, **, &)
          hand = hand_of_job
          super unless hand && lost?(hand)
        end

        private

        def hand_of_job
          hand = WorkInHand.current
          hand if hand&.lease && hand.lease.jid == job_id
        end

        def lost?(hand)
          hand.began? ? hand.lease.lost_by_now? : hand.lease.lost?
        rescue ForkError
          # A forked child that unwinds through its parent's work holds nothing.
          true
        end
      end
    end
  end
end
