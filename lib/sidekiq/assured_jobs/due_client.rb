# frozen_string_literal: true

require_relative "errors"

module Sidekiq
  module AssuredJobs
    # Takes due jobs through client middleware, as Sidekiq's own push does. What comes out is not pushed here: the
    # engine pushes it and removes the record in one atomic step.
    class DueClient < Sidekiq::Client
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
