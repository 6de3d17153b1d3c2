# frozen_string_literal: true

module Sidekiq
  module AssuredJobs
    # The unit of work that a Sidekiq thread has in hand: it holds the payload as it was in the queue, which
    # middleware does not see, and it is acknowledged once a failed job's retry is stored, which middleware
    # does not see either.
    module WorkInHand
      KEY = :assured_jobs_work_in_hand

      class << self
        # @return [void]
        def install
          require "sidekiq/processor"
          # Prepending twice has no effect.
          Sidekiq::Processor.prepend(Remembered)
        end

        # @param job [Hash] parsed payload
        # @return [Object, nil] the unit of work that this thread processes, if it is this job's
        def of(job)
          work = Thread.current[KEY]
          work if work&.job&.include?(job["jid"].to_s)
        end

        # @param work [Object] unit of work
        # @yield once the unit of work is acknowledged
        # @return [void]
        def when_acknowledged(work, &)
          work.define_singleton_method(:acknowledge) do
            super().tap(&)
          end
        end
      end

      # @api private
      module Remembered
        private

        def process(work)
          Thread.current[KEY] = work
          super
        end
      end
    end
  end
end
