# frozen_string_literal: true

require_relative "log"

module Sidekiq
  module AssuredJobs
    # Threads of our own. Where the operating system gives none, things go on without.
    # @api private
    module Background
      @told = []
      @mutex = Mutex.new

      # @param name [String]
      # @yield the work
      # @return [Thread, nil] nil where there is none to be had, which is logged once
      def self.start(name, &)
        Thread.new(&).tap { |thread| thread.name = "assured-jobs-#{name}" }
      rescue ThreadError => e
        news = @mutex.synchronize { @told.include?(name) ? false : @told << name }
        Log.warn { "the thread for #{name} has to wait: #{e.message}" } if news
        nil
      end
    end
  end
end
