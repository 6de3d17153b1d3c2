# frozen_string_literal: true

require_relative "../events"
require_relative "../log"
require_relative "../recovery_count"
require_relative "unique_jobs/fence"
require_relative "unique_jobs/lock"

module Sidekiq
  module AssuredJobs
    # The sidekiq-unique-jobs gem, where the application has it. Its locks belong to jids, so a job that comes back
    # passes those that its killed attempt left, and ends them when it ends. So recovery needs no process that has that
    # gem. What is left to do is here.
    module UniqueJobs
      class << self
        # @return [void]
        def install
          # Prepending twice has no effect.
          ::SidekiqUniqueJobs::Locksmith.prepend(Fence) if Lock.known?
        end

        # @param unit [Object] unit of work
        # @return [Boolean] whether its job has begun, and must not be dropped for a duplicate any more
        def begun?(unit)
          Lock.in?(unit.job) && WorkInHand.hands.values.any? { |hand| hand.work.equal?(unit) && hand.began? }
        end

        # @param payload [String] of a job that has begun, and that no crash has interrupted
        # @return [String] as {dropped?} recognizes it
        def mark(payload)
          return payload if payload.include?("\"#{RecoveryCount::KEY}\":")

          payload.sub(/\}\s*\z/, ",\"#{RecoveryCount::KEY}\":0}")
        end

        # For a job that Sidekiq takes for done and that never reached `perform`. That is meant to happen for the sake
        # of a duplicate, but not to a job that had begun before a crash or a shutdown interrupted it.
        #
        # @param job [Hash] parsed payload
        # @return [Boolean] whether it has to go back
        def dropped?(job)
          lock = Lock.of(job)
          return false if !lock || WayIn.foreign_fetcher

          comes_back = job.key?(RecoveryCount::KEY) && lock.silent?
          Log.public_send(comes_back ? :warn : :info) do
            "job #{Printable.name(job["jid"])} has not run, because of its #{lock}#{"; it goes back" if comes_back}"
          end
          Events.guard("taking a unique lock") { lock.take } if comes_back
          comes_back
        end

        # For a job that is dead: nobody else ends what its last attempt held.
        #
        # @param job [Hash] parsed payload
        # @return [void]
        def release(job)
          Lock.of(job)&.release
        end
      end

      # Deletes the lock of a job, for everybody who holds it. Recovery does not need it: a job with the same
      # jid passes its own lock.
      #
      # @param job [Hash] parsed payload
      # @return [Boolean] whether there was a lock to delete
      def clear_unique_jobs_lock(job)
        digest = job["lock_digest"] || job["unique_digest"]
        return false unless digest && defined?(::SidekiqUniqueJobs::Digests)

        digests = ::SidekiqUniqueJobs::Digests
        # A class since version 7, a module before.
        (digests.respond_to?(:new) ? digests.new : digests).delete_by_digest(digest)
        Log.info { "cleared the unique lock #{Printable.name(digest)} of job #{Printable.name(job["jid"])}" }
        true
      rescue StandardError => e
        Log.warn { "could not clear the unique lock of job #{Printable.name(job["jid"])}: #{Printable.error(e)}" }
        false
      end
    end
  end
end
