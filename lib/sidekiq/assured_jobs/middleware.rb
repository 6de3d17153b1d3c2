# frozen_string_literal: true

require_relative "assured_classes"
require_relative "push_back"
require_relative "work_in_hand"

module Sidekiq
  module AssuredJobs
    # Server middleware: an assured job is in flight while the block runs, and released after it.
    class Middleware
      # @param _worker [Object] instance of the job class
      # @param job [Hash] parsed payload
      # @param queue [String] queue name without `queue:`
      # @yield the job
      # @return [Object] what the block returns
      def call(_worker, job, queue)
        return yield if !AssuredClasses.assured?(job) || testing?

        work = WorkInHand.of(job)
        payload = work ? work.job : Sidekiq.dump_json(job)
        engine = AssuredJobs.engine
        attempt = engine.track(job["jid"].to_s, queue, payload)
        begin
          result = yield
          finished = true
          result
        ensure
          finished || !work ? release(engine, attempt) : leave_in_flight(engine, attempt, work)
        end
      end

      private

      # Sidekiq stores the retry of a job that raised only after all middleware is left. Until it acknowledges
      # the job, the record is all there is of it. A job that is never acknowledged (its thread was killed, its
      # retry could not be stored) is handed over when the process ends.
      def leave_in_flight(engine, attempt, work)
        return release(engine, attempt) if PushBack.pushed?(work.job)

        WorkInHand.when_acknowledged(work) { release(engine, attempt) }
      end

      def release(engine, attempt)
        engine.release(attempt)
        # Without a server around it (in specs) callers look at once.
        engine.flush(AssuredJobs.track_timeout) unless Sidekiq.server?
      rescue ForkError
        # A forked child that unwinds through its parent's middleware holds nothing.
      end

      def testing?
        defined?(Sidekiq::Testing) && (Sidekiq::Testing.fake? || Sidekiq::Testing.inline?)
      end
    end
  end
end
