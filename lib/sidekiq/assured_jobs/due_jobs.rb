# frozen_string_literal: true

require "sidekiq/scheduled"

module Sidekiq
  module AssuredJobs
    # Takes the place of what moves Sidekiq's scheduled jobs and retries into their queues when they are due. Sidekiq
    # pops such a job and pushes it afterwards; in between a SIGKILL loses it. Here an assured job is in flight
    # meanwhile.
    class DueJobs < Sidekiq::Scheduled::Enq
      # @param sorted_sets [Array<String>]
      # @return [void]
      def enqueue_jobs(sorted_sets = Sidekiq::Scheduled::SETS)
        sorted_sets.each do |set|
          while !@done && (due = AssuredJobs.engine.pop_due(set, AssuredJobs.track_timeout.to_f))
            _, payload, attempt = due
            push(payload, attempt)
            Sidekiq.logger.debug { "enqueued #{set}: #{payload}" }
          end
        end
      end

      private

      def push(payload, attempt)
        Sidekiq::Client.push(Sidekiq.load_json(payload))
        pushed = true
      ensure
        if attempt
          engine = AssuredJobs.engine
          pushed ? engine.release(attempt) : engine.give_back_later(attempt)
        end
      end
    end
  end
end
