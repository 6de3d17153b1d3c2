# frozen_string_literal: true

require_relative "log"
require_relative "unique_lock"
require_relative "way_in"

module Sidekiq
  module AssuredJobs
    # Jobs that Sidekiq takes for done and that have not run, because of their unique lock. That is meant to happen for
    # the sake of a duplicate, but not to an orphan that has come back, or a job that a shutdown interrupted: a
    # duplicate may have begun meanwhile. It also happens where the reaper of the sidekiq-unique-jobs gem, which looks
    # at each start, took a lock for an orphan's whose job a thread had just popped.
    module DroppedJobs
      # How many jobs that lost a lock are remembered. Each goes back once, in case something else drops it for good.
      REMEMBERED = 1000

      @returned = []
      @mutex = Mutex.new

      class << self
        # @param hand [WorkInHand]
        # @param job [Hash] parsed payload
        # @param recovered [Boolean] whether the job was an orphan, or put back
        # @return [void]
        def settle(hand, job, recovered:)
          lock = UniqueLock.of(job)
          return if !lock || WayIn.foreign_fetcher

          how, why = decide(lock, job, recovered)
          Log.public_send(how ? :warn : :info) do
            "job #{Printable.name(job["jid"])} has not run, because of its #{lock}#{why}#{"; it goes back" if how}"
          end
          hand.go_back(how) if how
        end

        private

        # What cannot be found out now is asked again when the job has come back.
        def decide(lock, job, recovered)
          [way_back(lock, job, recovered), nil]
        rescue StandardError => e
          [(:untouched if lock.silent?), " (#{Printable.error(e)})"]
        end

        # @return [Symbol, nil] nil where the job is dropped as the application has it
        def way_back(lock, job, recovered)
          return unless lock.silent?
          return (:untouched if recovered) if lock.duplicates?

          :readmitted if first_time?(job["jid"])
        end

        def first_time?(jid)
          @mutex.synchronize do
            next false if @returned.include?(jid)

            @returned.shift if @returned.size == REMEMBERED
            @returned << jid
          end
        end
      end
    end
  end
end
