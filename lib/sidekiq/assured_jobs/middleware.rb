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
        case ending
        when :finished then engine.release(attempt)
        # Pushed back already, or to be handed over when the process ends.
        when :shut_down then engine.release(attempt) if PushBack.pushed?(payload)
        # A killed thread acknowledges nothing: the job is handed over when the process ends. Anything else
        # that skips the `rescue` above (a throw) is an ending that Sidekiq takes for done.
        when :cut_off then engine.release_later(attempt, LATE) unless Thread.current.status == "aborting"
        else engine.release_later(attempt, Sidekiq.server? ? LATE : 0)
        end
        # Without a server around it (in specs) callers look at once.
        engine.flush(AssuredJobs.track_timeout) unless Sidekiq.server?
      rescue ForkError
        # A forked child that unwinds through its parent's middleware holds nothing.
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
