# frozen_string_literal: true

require_relative "clock"
require_relative "errors"

module Sidekiq
  module AssuredJobs
    # The dead jobs whose handlers have not begun, on a list in Redis; the one that has waited longest lies at its end.
    #
    # A job whose class this process does not know is another application's: it stays there for a process that does.
    # Where none has come within `dead_after`, the class is gone, and whoever is there takes it.
    # @api private
    class DeadJobs
      # How many payloads are read at once.
      PAGE = 100

      # Seconds until the list is read again where all that is left on it is others'.
      PAUSE = 60

      # Milliseconds in payloads are numbers above this, and seconds below.
      MILLISECONDS = 100_000_000_000

      # @yieldreturn [Boolean] whether to go on with another job
      # @return [Enumerator<String>] payloads, each off the list when it comes
      def take_ours(&go_on)
        return [].each if @not_before && Clock.now < @not_before

        Enumerator.new { |taken| take(taken, go_on) }
      end

      private

      def take(taken, go_on)
        @passed = 0
        nil while go_on.call && take_page(taken, go_on)
        @not_before = @passed.positive? ? Clock.now + [PAUSE, AssuredJobs.dead_after].min : nil
      end

      # @return [Boolean] whether there may be more
      def take_page(taken, go_on)
        page = list { |redis, key| redis.lrange(key, -@passed - PAGE, -@passed - 1) }.reverse
        ours, others = page.partition { |payload| ours?(payload) }
        @passed += others.size
        ours.each { |payload| taken << payload if go_on.call && remove(payload) }
        ours.any? || page.size == PAGE
      end

      # @return [Boolean] whether it was still there
      def remove(payload)
        list { |redis, key| redis.lrem(key, -1, payload) }.positive?
      end

      def list
        AssuredJobs.redis_sync { |redis| yield redis, AssuredJobs.namespaced_key("deaths") }
      end

      def ours?(payload)
        job = Sidekiq.load_json(payload)
        known?((job["wrapped"] || job["class"]).to_s) || old?(job["failed_at"].to_f)
      rescue *APPLICATION_ERRORS
        # Nobody else will make more of it.
        true
      end

      def known?(name)
        Object.const_defined?(name)
      rescue *APPLICATION_ERRORS
        # No name of a class, or a file that cannot be loaded.
        false
      end

      def old?(failed_at)
        failed_at /= 1000 if failed_at > MILLISECONDS
        Time.now.to_f - failed_at > AssuredJobs.dead_after
      end
    end
  end
end
