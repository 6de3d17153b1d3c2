# frozen_string_literal: true

require_relative "assured_classes"
require_relative "push_back"

module Sidekiq
  module AssuredJobs
    # Server middleware: an assured job is in flight while the block runs, and released after it.
    class Middleware
      # Seconds for which a job that raised stays in flight: Sidekiq stores its retry only after all middleware
      # is left, and until then the record is all there is of the job.
      LATE = 5

      # @param _worker [Object] instance of the job class
      # @param job [Hash] parsed payload
      # @param queue [String] queue name without `queue:`
      # @yield the job
      # @return [Object] what the block returns
      def call(_worker, job, queue)
        return yield if !AssuredClasses.assured?(job) || testing?

        payload = payload_of(job)
        engine = AssuredJobs.engine
        attempt = engine.track(job["jid"].to_s, queue, payload)
        ending = :cut_off
        begin
          result = yield
          ending = :finished
          result
        rescue Sidekiq::Shutdown
          ending = :shut_down
          raise
        rescue Exception # rubocop:disable Lint/RescueException -- SystemExit and Timeout::Error are retried too
          ending = :raised
          raise
        ensure
          leave(engine, attempt, ending, payload)
        end
      end

      private

      def leave(engine, attempt, ending, payload)
        seconds = seconds_left(ending, payload)
        return unless seconds
        return engine.release_later(attempt, seconds) if Sidekiq.server? && seconds.positive?

        engine.release(attempt)
        # Without a server around it (in specs) callers look at once.
        engine.flush(AssuredJobs.track_timeout) unless Sidekiq.server?
      rescue ForkError
        # A forked child that unwinds through its parent's middleware holds nothing.
      end

      # @return [Integer, nil] seconds until the job is released; nil when it stays in flight
      def seconds_left(ending, payload)
        case ending
        when :finished then 0
        # Pushed back already, or handed over when the process ends.
        when :shut_down then PushBack.pushed?(payload) ? 0 : nil
        # A killed thread acknowledges nothing: its job is handed over when the process ends. Whatever else
        # skips the `rescue` (a throw) is an ending that Sidekiq takes for done.
        when :cut_off then Thread.current.status == "aborting" ? nil : LATE
        else LATE
        end
      end

      # The exact string from the queue where Sidekiq has it: parsing and dumping would change it.
      def payload_of(job)
        if defined?(Sidekiq::Processor)
          state = Sidekiq::Processor::WORKER_STATE.dup[Thread.current["sidekiq_tid"]]
          payload = state && state[:payload]
          return payload if payload.is_a?(String) && payload.include?(job["jid"].to_s)
        end
        Sidekiq.dump_json(job)
      end

      def testing?
        defined?(Sidekiq::Testing) && (Sidekiq::Testing.fake? || Sidekiq::Testing.inline?)
      end
    end
  end
end
