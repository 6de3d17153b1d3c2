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
        def stop
          super
        ensure
          AssuredJobs.stop
        end
      end
    end
  end
end
