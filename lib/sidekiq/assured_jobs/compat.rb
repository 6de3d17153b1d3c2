# frozen_string_literal: true

require_relative "compat/sidekiq60"
require_relative "compat/sidekiq6"
require_relative "compat/sidekiq7"
require_relative "compat/sidekiq8"

module Sidekiq
  module AssuredJobs
    # What differs from one generation of Sidekiq to the next. Nothing else in the gem looks at the version: it asks
    # {SIDEKIQ}.
    module Compat
      # @api private
      def self.choose(version)
        major, minor = version.split(".").map(&:to_i)
        return Sidekiq8 if major >= 8
        return Sidekiq7 if major == 7

        minor.zero? ? Sidekiq60 : Sidekiq6
      end
      private_class_method :choose

      # The generation that runs.
      SIDEKIQ = choose(::Sidekiq::VERSION).new.freeze
    end
  end
end
