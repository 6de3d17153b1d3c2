# frozen_string_literal: true

module Sidekiq
  module AssuredJobs
    # The lock of the sidekiq-unique-jobs gem that an orphan was pushed with. A killed job leaves it as it was. The
    # queue lock lets the same jid pass; the runtime lock (of a job that must not run beside its duplicates) outlives
    # its owner, and makes a duplicate that runs meanwhile disappear without a word.
    class UniqueLock
      # What stands in payloads since version 7 of that gem, and before.
      DIGESTS = %w[lock_digest unique_digest].freeze

      # The same, as text of a payload that nobody has parsed.
      TEXT = /"(?:#{DIGESTS.join("|")})":"/

      # What the runtime lock adds to a digest.
      RUNTIME = ":RUN"

      # Where the holders of a lock are, by version: a hash with a jid for each.
      HOLDERS = { "lock_digest" => "LOCKED", "unique_digest" => "GRABBED" }.freeze

      # With these a push that is refused does nothing else. An orphan is pushed again at each sweep: it must not be
      # rejected, rescheduled or replace its duplicate each time, nor wait for the lock and keep others waiting.
      QUIET = { "on_conflict" => nil, "on_client_conflict" => nil, "lock_timeout" => 0 }.freeze

      class << self
        # @param job [Hash] parsed payload
        # @return [UniqueLock, nil]
        def of(job)
          return unless loaded?

          key = DIGESTS.find { |name| job[name].is_a?(String) }
          new(job, key) if key
        end

        # @param payload [String]
        # @return [Boolean]
        def in?(payload)
          loaded? && payload.match?(TEXT)
        end

        private

        def loaded?
          defined?(::SidekiqUniqueJobs::Locksmith)
        end
      end

      # @param job [Hash] parsed payload
      # @param key [String] under which the digest stands in it
      def initialize(job, key)
        @job = job
        @key = key
        @runtime = "#{job[key].delete_suffix(RUNTIME)}#{RUNTIME}"
      end

      # @return [String]
      def to_s
        "unique lock #{@job[@key]}"
      end

      # Yields the job as it may be pushed without side effects; what comes out has its own settings again.
      #
      # @yieldparam job [Hash]
      # @yieldreturn [Hash, nil]
      # @return [Hash, nil]
      def quietly
        pushed = yield @job.merge(QUIET)
        pushed&.merge!(@job.slice(*QUIET.keys))
        pushed&.reject! { |key, _| QUIET.key?(key) && !@job.key?(key) }
        pushed
      end

      # @return [Boolean] whether duplicates run, so that the job would be dropped when its turn comes
      def duplicates_run?
        others(@runtime) >= (@job["lock_limit"] || 1).to_i
      end

      # @return [Boolean] whether duplicates are queued, or have run and keep the lock until it expires
      def duplicates_queued?
        others(@job[@key]).positive?
      end

      # @return [Boolean] whether a duplicate has one of the locks
      def duplicates?
        duplicates_queued? || others(@runtime).positive?
      end

      # @return [Boolean] whether a job that finds its lock taken when it is to run disappears. With `replace` it does,
      #   unless there is a queued duplicate that it can replace
      def silent?
        answer = @job["on_server_conflict"] || @job["on_conflict"]
        answer = answer["server"] if answer.is_a?(Hash)
        [nil, "log", "replace"].include?(answer&.to_s)
      end

      # Releases the runtime lock if this very job has it. Nobody else's: a lock may have several holders.
      #
      # @return [Boolean] whether there was one to release
      def release_own
        ::SidekiqUniqueJobs::Locksmith.new(@job.merge(@key => @runtime)).unlock ? true : false
      end

      private

      def others(digest)
        (Sidekiq.redis { |redis| redis.hkeys("#{digest}:#{HOLDERS.fetch(@key)}") } - [@job["jid"]]).size
      end
    end
  end
end
