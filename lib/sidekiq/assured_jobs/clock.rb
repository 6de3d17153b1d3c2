# frozen_string_literal: true

module Sidekiq
  module AssuredJobs
    # @api private
    module Clock
      # @return [Float] seconds, for differences; nobody sets it
      def self.now
        ::Process.clock_gettime(::Process::CLOCK_MONOTONIC)
      end
    end
  end
end
