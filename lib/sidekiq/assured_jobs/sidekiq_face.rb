# frozen_string_literal: true

module Sidekiq
  module AssuredJobs
    # Where the versions of Sidekiq keep what we ask them for.
    # @api private
    module SidekiqFace
      module_function

      # @return [Hash, #[]] Sidekiq's own options
      def options
        return Sidekiq.default_configuration if Sidekiq.respond_to?(:default_configuration) # 7.0
        return Sidekiq if Sidekiq.respond_to?(:[]) # 6.5

        Sidekiq.options
      end

      # @return [Array<Proc>]
      def death_handlers
        Sidekiq.respond_to?(:death_handlers) ? Sidekiq.death_handlers : Sidekiq.default_configuration.death_handlers
      end
    end
  end
end
