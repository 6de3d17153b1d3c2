# frozen_string_literal: true

require_relative "errors"
require_relative "printable"
require_relative "unique_lock"

module Sidekiq
  module AssuredJobs
    # Takes jobs through the application's client middleware. What comes out is not pushed here: the engine pushes
    # it and removes the record in one atomic step.
    class RecoveryClient < Sidekiq::Client
      # For a job that has begun: the lock that it holds must not keep it from being pushed, or its duplicate from
      # running.
      #
      # @param job [Hash] parsed payload
      # @return [Array(Hash, nil)] what client middleware made of it
      # @return [Array(nil, String)] why it cannot be pushed
      # @return [Array(nil, String, true)] the same where it can be later
      def readmit(job)
        lock = UniqueLock.of(job)
        return [prepare(job), "refused by client middleware"] unless lock
        return [nil, "a duplicate runs with its #{lock}; it comes back after that", true] if lock.duplicates_run?

        # With the locks untouched first: the same jid passes its own.
        again = -> { lock.quietly { |quiet| prepare(quiet) } }
        pushed = again.call || (again.call if lock.release_own)
        return [pushed, nil] if pushed

        return [nil, "a duplicate has its #{lock}; it comes back after that", true] if lock.duplicates_queued?

        [nil, "refused by client middleware"]
      end

      # @param job [Hash] parsed payload
      # @return [Hash, nil] what client middleware made of it; nil where it refused it
      def prepare(job)
        # A job in flight is due, whatever it once was scheduled for.
        job.delete("at")
        @caught = nil
        push(job)
        @caught
      end

      private

      def raw_push(payloads)
        @caught = payloads.first.tap { |payload| payload.delete("at") }
        true
      end
    end
  end
end
