# frozen_string_literal: true

require_relative "log"

module Sidekiq
  module AssuredJobs
    # Locks of the sidekiq-unique-jobs gem, which outlive a killed job.
    module UniqueJobs
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
