# frozen_string_literal: true

require_relative "errors"

module Sidekiq
  module AssuredJobs
    # What a running job holds as long as nobody has given it to another process.
    # @api private
    class Lease
      # @return [String, nil]
      attr_reader :jid

      # @param engine [Native::Engine]
      # @param attempt [Integer]
      # @param job [Hash] parsed payload
      def initialize(engine, attempt, job)
        @engine = engine
        @attempt = attempt
        @jid = job["jid"]
        # Sidekiq counts from the second failure on; recoveries are no retries.
        @number = job["retry_count"] ? job["retry_count"].to_i + 2 : 1
      end

      # @return [Boolean] as far as this process knows; without a round trip
      def lost?
        @engine.lost?(@attempt)
      end

      # @return [Boolean] as Redis knows; false where it does not answer
      def lost_by_now?
        lost? || (@engine.check_up(AssuredJobs.patience) && lost?)
      rescue ForkError
        # A forked child that unwinds through its parent's work holds nothing.
        false
      end

      # @param jid [String] the job's name for itself
      # @return [String]
      def token(jid = @jid)
        "#{jid}:#{@number}"
      end
    end
  end
end
