# frozen_string_literal: true

require_relative "compat"
require_relative "due_jobs"
require_relative "fetchers"
require_relative "log"

module Sidekiq
  module AssuredJobs
    # What is known of how the jobs of each capsule come to be in flight, and the log lines that tell it.
    class FetchModes
      # How the jobs of a capsule come to be in flight.
      #
      # @!attribute reason
      #   @return [String, nil] why the middleware tracks them; nil with assured fetch
      # @!attribute foreign
      #   @return [Object, nil] fetcher of the application or of another gem
      Mode = Struct.new(:reason, :foreign)

      def initialize
        @modes = {}.freeze
        @told = []
        @mutex = Mutex.new
      end

      # @param capsule [String, nil]
      # @return [Mode, nil]
      def [](capsule)
        @modes[capsule]
      end

      # @return [Object, nil] the other fetcher that brings the jobs of this thread's capsule, or of any capsule where
      #   the thread belongs to none
      def foreign_fetcher
        modes = @modes
        return Fetchers.foreign.first if modes.empty?

        mode = modes[Compat::SIDEKIQ.current_capsule]
        (mode ? [mode] : modes.values).filter_map(&:foreign).first
      end

      # The log tells of it once all capsules are known, and whenever something changes.
      #
      # @param capsule [String, nil]
      # @param mode [Mode]
      # @return [void]
      def note(capsule, mode)
        @mutex.synchronize do
          known = @modes[capsule]
          next if known && known.reason == mode.reason

          @modes = @modes.merge(capsule => mode).freeze
          PushBack.follow(Fetchers.foreign)
          tell if Compat::SIDEKIQ.capsule_names.all? { |name| @modes.key?(name) }
        end
      end

      private

      def tell
        lines = lines(@modes.transform_values { |mode| by_what(mode) })
        (lines - @told).each { |line| Log.info { line } }
        @told = lines
      end

      def lines(ways)
        return ["jobs are tracked by #{ways.values.first}"] if ways.values.uniq.one?

        ways.map { |capsule, way| "jobs of capsule #{capsule} are tracked by #{way}" }
      end

      def by_what(mode)
        return "the middleware, because #{mode.reason}" if mode.reason

        scheduler = DueJobs.foreign_scheduler
        return "assured fetch" unless scheduler

        "assured fetch, but a SIGKILL may lose one that is due, which #{scheduler} moves to its queue"
      end
    end
  end
end
