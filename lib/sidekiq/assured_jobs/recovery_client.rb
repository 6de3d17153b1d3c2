# frozen_string_literal: true

module Sidekiq
  module AssuredJobs
    # Takes orphans through the application's client middleware. What comes out is not pushed here: the
    # engine pushes it and removes the record in one atomic step.
    class RecoveryClient < Sidekiq::Client
      # @param name [String] name of the record
      # @param payload [String] JSON of the orphan
      # @return [Array(String, String, String)] name, queue and payload to push
      # @return [Array(String, String)] name, and why the orphan cannot be pushed
      def decide(name, payload)
        item = Sidekiq.load_json(payload)
        # A job in flight is due, whatever it once was scheduled for.
        item.delete("at")
        @caught = nil
        push(item)
        return [name, "refused by client middleware"] unless @caught

        [name, @caught["queue"].to_s, Sidekiq.dump_json(@caught)]
      rescue StandardError => e
        [name, "#{e.class}: #{e.message}"]
      end

      private

      def raw_push(payloads)
        @caught = payloads.first.tap { |payload| payload.delete("at") }
        true
      end
    end
  end
end
