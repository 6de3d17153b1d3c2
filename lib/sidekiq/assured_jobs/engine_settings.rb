# frozen_string_literal: true

require "securerandom"
require "socket"
require_relative "assured_classes"
require_relative "compat"
require_relative "passwords"
require_relative "redis_details"
require_relative "version"

module Sidekiq
  module AssuredJobs
    # Everything that the engine is told, filled in completely: the Rust side has no defaults.
    module EngineSettings
      # Threads that Sidekiq starts besides those that run jobs: its heartbeat, its scheduler, and one to spare.
      OTHER_THREADS = 3

      module_function

      # @param configuration [Configuration]
      # @return [Hash{Symbol => Object}]
      # @raise [ConfigurationError]
      def of(configuration)
        configuration.validate!
        passwords = Passwords.new
        durations(configuration).merge(
          namespace: configuration.namespace,
          instance_id: configuration.instance_id,
          hostname: Socket.gethostname,
          pid: ::Process.pid,
          nonce: SecureRandom.hex(6),
          version: VERSION,
          reserved_threads: Compat::SIDEKIQ.concurrency + OTHER_THREADS,
          max_recoveries: configuration.max_recoveries,
          auto_recovery: configuration.auto_recovery_enabled,
          dead_after: configuration.dead_after.to_f,
          assured_classes: AssuredClasses.limits.to_a,
          integer_timestamps: Compat::SIDEKIQ.integer_timestamps?,
          **dead_set,
          **redis(configuration.redis_options).transform_values { |details| passwords.resolve(details) },
          passwords:,
          password_refresh: Passwords::REFRESH
        ).extend(Secret::Holder)
      end

      # @return [Numeric] now, as the running Sidekiq writes it into payloads
      def timestamp
        unit = Compat::SIDEKIQ.integer_timestamps? ? :millisecond : :float_second
        ::Process.clock_gettime(::Process::CLOCK_REALTIME, unit)
      end

      # @param configuration [Configuration]
      # @return [Boolean] whether the tracking keys are in another database than Sidekiq's queues
      def second_redis?(configuration)
        !redis(configuration.redis_options)[:queues].nil?
      end

      # @api private
      def durations(configuration)
        %i[heartbeat_interval heartbeat_ttl death_grace recovery_lock_ttl track_timeout].to_h do |name|
          [name, configuration.public_send(name).to_f]
        end
      end
      private_class_method :durations

      # @api private
      def dead_set
        options = Compat::SIDEKIQ.options
        { dead_max_jobs: options[:dead_max_jobs], dead_timeout: options[:dead_timeout_in_seconds].to_f }
      end
      private_class_method :dead_set

      # @api private
      def redis(redis_options)
        sidekiq = RedisDetails.of_sidekiq
        return { tracking: sidekiq, queues: nil } unless redis_options

        tracking = RedisDetails.of_options(redis_options)
        # One database can change queue and record in one step; two cannot.
        same = RedisDetails.same_database?(tracking, sidekiq)
        { tracking: same ? tracking.merge(key_prefix: sidekiq[:key_prefix]) : tracking, queues: same ? nil : sidekiq }
      end
      private_class_method :redis
    end
  end
end
