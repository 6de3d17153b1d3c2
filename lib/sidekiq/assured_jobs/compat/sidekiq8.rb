# frozen_string_literal: true

require_relative "sidekiq7"

module Sidekiq
  module AssuredJobs
    module Compat
      # Sidekiq 8: points in time in another unit.
      class Sidekiq8 < Sidekiq7
        # (see Sidekiq6#tells_of_discards?)
        def tells_of_discards?
          # Since 8.0.8.
          Gem::Version.new(::Sidekiq::VERSION) >= Gem::Version.new("8.0.8")
        end

        # (see Sidekiq6#integer_timestamps?)
        def integer_timestamps?
          true
        end
      end
    end
  end
end
