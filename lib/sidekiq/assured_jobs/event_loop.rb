# frozen_string_literal: true

require_relative "background"
require_relative "callbacks"
require_relative "engine_settings"
require_relative "log"
require_relative "native"

module Sidekiq
  module AssuredJobs
    # The one Ruby thread that writes the engine's log lines, and passes its events on. Code of the application that is
    # told of events runs in {Callbacks}.
    class EventLoop
      # @param engine [Native::Engine]
      # @param logger [Proc] returns the logger; asked anew each time, because applications replace theirs
      def initialize(engine, logger)
        @engine = engine
        @logger = logger
        @callbacks = Callbacks.new
        @thread = Background.start("events") { run } or raise OutOfThreads, "none is left for events"
      end

      # Waits until everything is written that the engine had to say before it stopped, and the application is told.
      #
      # @param seconds [Numeric]
      # @return [void]
      def join(seconds)
        @thread.join(seconds)
        @callbacks.join(seconds)
      end

      private

      def run
        while (events = @engine.next_events)
          events.each { |kind, *details| handle(kind, details) }
        end
      rescue StandardError => e
        log(:error, "the event loop ended: #{Printable.error(e)}")
        raise
      end

      # Nothing that one event leads to may keep the others from being heard.
      def handle(kind, details)
        case kind
        when :log then log(*details)
        when :notices then tell(*details)
        when :deaths then @callbacks.attend_deaths
        when :dropped then count_dropped(*details)
        end
      rescue *APPLICATION_ERRORS => e
        log(:error, "an event (#{kind}) could not be handled: #{Printable.error(e)}")
      end

      def log(severity, message)
        Log.write(@logger.call, severity) { message }
      end

      def tell(notices)
        events = notices.map { |notice| Event.new(**notice).freeze }
        events.each { |event| log(Events::SEVERITIES.fetch(event.name), event.to_s) }
        dropped = events.count { |event| !@callbacks.publish(event) }
        count_dropped(dropped) if dropped.positive?
      end

      # Only the telling was dropped: what the events tell of is done.
      def count_dropped(count)
        log(:warn, "#{count} events were dropped, because they came faster than they are handled")
        Native.count(EngineSettings.of(AssuredJobs.configuration), "events_dropped", count)
      rescue StandardError => e
        log(:warn, "they could not be counted: #{Printable.error(e)}")
      end
    end
  end
end
