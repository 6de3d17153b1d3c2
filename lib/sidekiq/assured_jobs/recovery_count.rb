# frozen_string_literal: true

module Sidekiq
  module AssuredJobs
    # How often a job was recovered is kept in its payload, and ends with a completed run: a run that returned, or
    # raised what Sidekiq handled, has not killed its process. So nothing that such a run stores or pushes may
    # carry the count: not its retry, which Sidekiq makes of the payload, nor a push of the hash that middleware sees.
    # Middleware that pushes that hash anew, and does not let the job run, passes the count on.
    # @api private
    module RecoveryCount
      # Key in payloads; the engine writes it.
      KEY = "assured_recoveries"

      # Sidekiq's methods that make a retry, or a dead job, of a payload; renamed in version 7.
      MAKERS = %i[attempt_retry process_retry].freeze

      class << self
        # @return [void]
        def install
          return if @installed

          require "sidekiq/job_retry"
          @installed = true
          makers = MAKERS & Sidekiq::JobRetry.private_instance_methods(false)
          Sidekiq::JobRetry.prepend(forgetting(makers))
        end

        # @param job [Hash] parsed payload
        # @return [Integer, nil] the count
        def forget(job)
          job.delete(KEY)
        end

        private

        def forgetting(makers)
          Module.new do
            makers.each do |maker|
              define_method(maker) do |job_instance, job, *rest|
                RecoveryCount.forget(job)
                super(job_instance, job, *rest)
              end
            end
            private(*makers) # rubocop:disable Style/AccessModifierDeclarations -- the names are not known here
          end
        end
      end
    end
  end
end
