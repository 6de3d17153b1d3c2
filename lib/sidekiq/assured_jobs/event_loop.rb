# frozen_string_literal: true

require_relative "recovery_client"

module Sidekiq
  module AssuredJobs
    # The one Ruby thread that does what the engine's threads cannot: write log lines and run client
    # middleware.
    class EventLoop
      # @param engine [Native::Engine]
      # @param logger [Proc] returns the logger; asked anew each time, because applications replace theirs
      def initialize(engine, logger)
        @engine = engine
        @logger = logger
        @client = RecoveryClient.new
        @thread = Thread.new { run }
        @thread.name = "assured-jobs-events"
      end

      # Waits until everything is written that the engine had to say before it stopped.
      #
      # @param seconds [Numeric]
      # @return [void]
      def join(seconds)
        @thread.join(seconds)
      end

      private

      def run
        while (events = @engine.next_events)
          events.each { |kind, *details| kind == :log ? log(*details) : push(*details) }
        end
      rescue StandardError => e
        log(:error, "the event loop ended: #{e.class}: #{e.message}")
        raise
      end

      def log(severity, message)
        @logger.call.public_send(severity) { "AssuredJobs: #{message}" }
      rescue StandardError
        # A logger that fails must not end the recovery of orphans.
      end

      def push(batch, orphans)
        @engine.decide(batch, orphans.map { |name, payload| @client.decide(name, payload) })
      end
    end
  end
end
