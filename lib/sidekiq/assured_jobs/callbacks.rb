# frozen_string_literal: true

require_relative "background"
require_relative "deaths"
require_relative "events"

module Sidekiq
  module AssuredJobs
    # The thread that runs code of the application, started when there is some to run: handlers that take their
    # time must not hold up the recovery of jobs.
    # @api private
    class Callbacks
      # Events that may wait. A handler that is slower than the events come must not fill the memory.
      CAPACITY = 10_000

      def initialize
        @waiting = Thread::SizedQueue.new(CAPACITY)
        @mutex = Mutex.new
      end

      # @param event [Event]
      # @return [Boolean] whether there was room for it, or nobody to tell
      def publish(event)
        !Events.awaited?(event.name) || add(event)
      end

      # Has the handlers of dead jobs run. Where there is no room the next sweep asks again.
      #
      # @return [Boolean]
      def attend_deaths
        add(:deaths)
      end

      # Ends the thread once it has done what waits, or after the limit.
      #
      # @param seconds [Numeric]
      # @return [void]
      def join(seconds)
        @ended = true
        @waiting.close
        @thread&.join(seconds)
      end

      private

      def add(item)
        @waiting.push(item, true)
        # A handler that calls `exit` ends the thread. Where there is none, the next item asks for one again.
        @mutex.synchronize { @thread = Background.start("callbacks") { run } unless @thread&.alive? }
        true
      rescue ThreadError, ClosedQueueError
        false
      end

      def run
        while (item = @waiting.pop)
          if item == :deaths
            Events.guard("looking for dead jobs") { Deaths.attend { !@ended } }
          else
            Events.publish(item)
          end
        end
      end
    end
  end
end
