# frozen_string_literal: true

require_relative "log"

module Sidekiq
  module AssuredJobs
    # Keeps an attempt whose lease is lost from leaving traces beside the newer one: its exception must not become a
    # retry, which would be the same job a second time.
    # @api private
    module Fencing
      module_function

      # @param lease [Lease]
      # @param job [Hash] parsed payload
      # @yield the job
      # @return [Object, nil] what the block returns
      def guard(lease, job)
        yield
      rescue Exception => e # rubocop:disable Lint/RescueException -- Sidekiq stores retries for all of them
        # A hard shutdown pushes nothing back for a lease that is lost.
        raise if e.is_a?(Sidekiq::Shutdown) || !lease.lost_by_now?

        Log.warn do
          "job #{Printable.name(job["jid"])} (#{Printable.name(job["wrapped"] || job["class"])}) was given to " \
            "another process and ended here with #{Printable.error(e)}; no retry is stored, the newer attempt counts"
        end
        nil
      end

      # @return [void]
      def install
        # In Sidekiq processes since 7.3. Prepending twice has no effect.
        ::Sidekiq::Job::InterruptHandler.prepend(Interrupts) if defined?(::Sidekiq::Job::InterruptHandler)
      end

      # For what pushes a job anew that Sidekiq has interrupted, such as an iterable one at a shutdown. A lease is lost,
      # too, where a hard shutdown has put the job back already.
      module Interrupts
        # @api private
        def call(*)
          super do
            yield
          rescue ::Sidekiq::Job::Interrupted => e
            raise unless WorkInHand.lease&.lost_by_now?

            # As after a push: Sidekiq is done with the job, and counts no failure.
            raise ::Sidekiq::JobRetry::Skip, e.message
          end
        end
      end

      # For ActiveJob classes: `retry_on` would enqueue the job again.
      module ActiveJob
        # @api private
        def rescue_with_handler(exception, *)
          super unless assured_lease&.lost_by_now?
        end
      end
    end
  end
end
