# frozen_string_literal: true

require_relative "compat"
require_relative "fetcher"
require_relative "log"
require_relative "way_in"

module Sidekiq
  module AssuredJobs
    # Sees what one thread of Sidekiq fetches by. Gems set their fetcher after Sidekiq's start, put one around the one
    # that is there, or replace it while the process runs. So each is looked at when the thread first uses it; and where
    # a look does not tell, or was wrong, the jobs that come do.
    class FetchWatch
      # @return [void]
      def self.install
        require "sidekiq/processor"
        # Prepending twice has no effect.
        Sidekiq::Processor.prepend(Watched)
      end

      # @param processor [Sidekiq::Processor]
      def initialize(processor)
        @processor = processor
        @capsule = Compat::SIDEKIQ.capsule_of(processor)
        # Where another gem has its own way to fetch, which never asks for the fetcher.
        @fetcher = processor
      end

      # The thread is about to fetch.
      #
      # @return [Boolean] whether it is known by what
      def before
        fetcher = Compat::SIDEKIQ.fetcher_of(@processor)
        return @certain if fetcher.equal?(@fetcher)

        @certain = WayIn.look(@processor, fetcher)
        # It may have another one now.
        @fetcher = Compat::SIDEKIQ.fetcher_of(@processor)
        @certain
      rescue StandardError => e
        # An exception here would end the thread, and the next one. Sidekiq's own fetch deals with it.
        Log.warn { "cannot tell what fetches the jobs: #{Printable.error(e)}" }
        @certain = true
      end

      # The fetch brought no job.
      #
      # @return [void]
      def nothing
        WayIn.brought_nothing(@capsule, @fetcher, ours: Fetcher.asked?)
      end

      # @param work [Object] unit of work
      # @return [void]
      def took(work)
        ours = !Fetcher.unit_behind(work).nil?
        WayIn.brought(@capsule, @fetcher, ours:) unless WayIn.known?(@capsule, ours:)
      end

      # @api private
      module Watched
        private

        def get_one # rubocop:disable Naming/AccessorMethodName -- Sidekiq's
          return super unless WayIn.chosen?

          @assured_watch ||= FetchWatch.new(self)
          return super if @assured_watch.before

          Fetcher.forget
          work = super
          @assured_watch.nothing unless work
          work
        end

        def process(work)
          (@assured_watch ||= FetchWatch.new(self)).took(work) if WayIn.chosen?
          super
        end
      end
    end
  end
end
