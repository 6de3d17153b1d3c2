# frozen_string_literal: true

require_relative "assured_classes"
require_relative "errors"
require_relative "fencing"

module Sidekiq
  module AssuredJobs
    # Makes the jobs of a class assured. Include it beside `Sidekiq::Worker` or `Sidekiq::Job`, in any order.
    # `sidekiq_options assured_jobs: false` in a subclass takes it back.
    #
    # A process that hangs, is paused, or is cut off from Redis for longer than `heartbeat_ttl` counts as dead: its
    # jobs are given to others, and run a second time while the first attempt may go on. {#lease_lost?} and
    # {#checkpoint!} tell the first attempt, {#assured_token} lets other systems see that both are the same. What the
    # first attempt does at its end changes nothing of the second: it stores no retry, and its failure is none.
    #
    # @example
    #   class ChargeCard
    #     include Sidekiq::Job
    #     include Sidekiq::AssuredJobs::Worker
    #
    #     def perform(order_id)
    #       receipt = Receipt.render(order_id) # takes long
    #       checkpoint!
    #       Payment.charge(order_id, receipt, idempotency_key: assured_token)
    #     end
    #   end
    module Worker
      # The option that the mixin sets, and the key it becomes in payloads.
      OPTION = AssuredClasses::OPTION

      # @api private
      def self.included(base)
        super
        base.include(Fencing::ActiveJob) if base.method_defined?(:rescue_with_handler)
        if base.respond_to?(:sidekiq_options)
          base.sidekiq_options(OPTION => true)
        else
          base.singleton_class.prepend(BeforeSidekiq)
        end
        AssuredClasses.add(base) if base.is_a?(Class)
      end

      # Whether this job was given to another process while it runs here. Cheap enough for every turn of a loop: it asks
      # the engine of this process, not Redis. The engine learns of it with its next heartbeat, so the answer may be
      # late by `heartbeat_interval`; after a pause of the whole process it is there within milliseconds.
      #
      # Also true once a shutdown has put the job back into its queue. Always false where no process holds the job, as
      # in `Sidekiq::Testing`.
      #
      # @return [Boolean]
      def lease_lost?
        assured_lease&.lost? || false
      end

      # Ends this attempt if the job was given to another process. To be called where the job can stop safely, and
      # before what must not happen twice.
      #
      # @return [void]
      # @raise [LeaseLost] which Sidekiq does not get to see: no failure is counted and no retry is stored
      def checkpoint!
        raise LeaseLost, "job #{assured_jid} was given to another process" if lease_lost?
      end

      # A key under which another system (a payment API, a unique index) recognizes what it has done for this attempt:
      # the job's id and the number of the attempt, such as `"b4a577edbccf1d805744efa9:1"`.
      #
      # It is the same when the job runs again because its process was killed or taken for dead: nobody knows how far
      # the first run came, so the second one must not charge again. It differs for each retry that Sidekiq stores
      # after an exception: that is a new try on purpose, and services that keep the answer to a key, errors included,
      # would answer it with the failure of the one before. Where a retry must not repeat what its predecessor did
      # either, use the `jid`.
      #
      # ActiveJob's `retry_on` enqueues a new job, with a new key. Nil for an instance that no client has pushed.
      #
      # @return [String, nil]
      def assured_token
        jid = assured_jid
        return unless jid

        assured_lease&.token(jid) || "#{jid}:1"
      end

      # @api private
      attr_writer :assured_lease

      # @api private
      def assured_lease
        # ActiveJob wraps its jobs, so the middleware never sees them. They run in the wrapper's thread; but so do
        # others that they run at once.
        @assured_lease ||= WorkInHand.lease.then { |lease| lease if lease && lease.jid == assured_jid }
      end

      # @api private
      def assured_jid
        return jid if respond_to?(:jid)

        provider_job_id || job_id
      end

      # Answers where the mixin came before `Sidekiq::Job`, or in an ActiveJob class, which has no such method.
      # @api private
      module BeforeSidekiq
        def get_sidekiq_options # rubocop:disable Naming/AccessorMethodName -- Sidekiq's name
          { OPTION => true }.merge(defined?(super) ? super : {})
        end
      end
    end
  end
end
