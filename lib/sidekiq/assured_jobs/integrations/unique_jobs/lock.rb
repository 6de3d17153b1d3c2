# frozen_string_literal: true

module Sidekiq
  module AssuredJobs
    module UniqueJobs
      # What a job holds of that gem's locks: the queue lock from its push on, the runtime lock (of a job that must not
      # run beside its duplicates) while it runs.
      # @api private
      class Lock
        # What stands in payloads since version 7 of that gem, and before, as text of a payload that nobody has parsed.
        TEXT = /"(?:lock|unique)_digest":"/

        # What the runtime lock adds to a digest.
        RUNTIME = ":RUN"

        # Answers to a duplicate after which the job is nowhere. `replace` is one where there is nothing to replace.
        SILENT = [nil, :log, :replace].freeze

        class << self
          # @param job [Hash] parsed payload
          # @return [Lock, nil]
          def of(job)
            new(job) if known? && job["lock_digest"].is_a?(String)
          end

          # @param payload [String]
          # @return [Boolean]
          def in?(payload)
            known? && payload.match?(TEXT)
          end

          # @return [Boolean] whether that gem is there, since version 7
          def known?
            defined?(::SidekiqUniqueJobs::Key) ? true : false
          end
        end

        # @param job [Hash] parsed payload
        def initialize(job)
          @job = job
          @digest = job["lock_digest"].delete_suffix(RUNTIME)
        end

        # @return [String]
        def to_s
          "unique lock #{Printable.name(@digest)}"
        end

        # @return [Boolean] whether a job that finds its lock taken when it is to run disappears; else the application's
        #   strategy has put it elsewhere
        def silent?
          return true unless runtime?
          return false if type <= ::SidekiqUniqueJobs::Lock::WhileExecutingReject

          SILENT.include?(::SidekiqUniqueJobs::LockConfig.new(@job).on_server_conflict&.to_sym)
        end

        # Takes the lock that the job lacked, unless a duplicate has it. A process that was killed while it took the
        # lock has written half of it, and with that the same jid is refused for ever.
        #
        # @return [void]
        def take
          digest = missing
          return unless digest

          locksmith = locksmith(digest)
          locksmith.lock unless locksmith.locked? || clear(locksmith.key)
        end

        # Nobody else's: a lock may have several holders.
        #
        # @return [void]
        def release
          [@digest + RUNTIME, @digest].each { |digest| locksmith(digest).unlock }
        end

        private

        def runtime?
          type && (type <= ::SidekiqUniqueJobs::Lock::WhileExecuting ||
            type <= ::SidekiqUniqueJobs::Lock::UntilAndWhileExecuting)
        end

        # An application may have locks of its own; what those look at is theirs.
        def missing
          return @digest + RUNTIME if runtime?

          @digest if type && type <= ::SidekiqUniqueJobs::Lock::UntilExecuted
        end

        def type
          ::SidekiqUniqueJobs.locks[@job["lock"]&.to_sym]
        end

        # Does not wait for the lock.
        def locksmith(digest)
          ::SidekiqUniqueJobs::Locksmith.new(@job.merge("lock_digest" => digest, "lock_timeout" => 0))
        end

        # @return [false]
        def clear(key)
          Sidekiq.redis do |redis|
            [key.queued, key.primed].each { |list| redis.lrem(list, 0, @job["jid"]) }
            redis.del(key.digest) if redis.get(key.digest) == @job["jid"]
          end
          false
        end
      end
    end
  end
end
