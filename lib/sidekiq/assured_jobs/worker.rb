# frozen_string_literal: true

module Sidekiq
  module AssuredJobs
    # Makes the jobs of a class assured. Include it beside `Sidekiq::Worker` or `Sidekiq::Job`, in any order.
    # `sidekiq_options assured_jobs: false` in a subclass takes it back.
    #
    # @example
    #   class ChargeCard
    #     include Sidekiq::Job
    #     include Sidekiq::AssuredJobs::Worker
    #   end
    module Worker
      # The option that the mixin sets, and the key it becomes in payloads.
      OPTION = "assured_jobs"

      # @api private
      def self.included(base)
        super
        if base.respond_to?(:sidekiq_options)
          base.sidekiq_options(OPTION => true)
        else
          base.singleton_class.prepend(BeforeSidekiq)
        end
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
