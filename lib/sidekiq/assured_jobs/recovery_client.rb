# frozen_string_literal: true

module Sidekiq
  module AssuredJobs
    # Takes jobs through the application's client middleware. What comes out is not pushed here: the engine pushes
    # it and removes the record in one atomic step.
    class RecoveryClient < Sidekiq::Client
      # @param name [String] name of an orphan's record
      # @param payload [String] JSON of the orphan
      # @return [Array(String, String, String)] name, queue and payload to push
      # @return [Array(String, String)] name, and why the orphan cannot be pushed
      def decide(name, payload)
        job = prepare(Sidekiq.load_json(payload))
        job ? [name, job["queue"].to_s, Sidekiq.dump_json(job)] : [name, "refused by client middleware"]
      rescue StandardError => e
        [name, "#{e.class}: #{e.message}"]
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
