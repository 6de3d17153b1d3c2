# frozen_string_literal: true

module Sidekiq
  module AssuredJobs
    # A Sidekiq that is embedded in another process (since version 7) stops while that process lives on. There is no
    # event for that before 8.0.2.
    module Embedded
      # @return [void]
      def self.install
        # Prepending twice has no effect.
        ::Sidekiq::Embedded.prepend(EndOfEngine) if defined?(::Sidekiq::Embedded)
      end

      # @api private
      module EndOfEngine
        # The event of the start comes only once.
        def run
          super.tap { AssuredJobs.engine_if_possible }
        end

        def stop
          super
        ensure
          AssuredJobs.stop
          # Sidekiq keeps its fetchers, and ours keeps the engine that has ended. When it runs again, it makes new ones.
          config.capsules.each_value { |capsule| capsule.instance_variable_set(:@fetcher, nil) }
        end
      end
    end
  end
end
