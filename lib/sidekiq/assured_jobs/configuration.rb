# frozen_string_literal: true

require "json"
require_relative "events"
require_relative "setting"

module Sidekiq
  module AssuredJobs
    # The settings. What code sets wins over the environment, the environment wins over the default.
    # Durations are in seconds, and may be fractions.
    class Configuration
      # Nobody waits longer than a day; what is longer is a unit mixed up.
      day = 86_400
      duration = ->(value) { value.is_a?(Numeric) && value.real? && value >= 0 && value <= day }
      positive = ->(value) { duration.call(value) && value.positive? }
      count = ->(value) { value.is_a?(Integer) && value.between?(0, 1_000_000) }
      text = ->(value) { value.is_a?(String) && !value.empty? }

      # All settings, in the order of the README.
      SETTINGS = [
        Setting.new(name: :instance_id, env: "ASSURED_JOBS_INSTANCE_ID", kind: :text,
                    allowed: "a String that is not empty, or nil",
                    check: ->(value) { value.nil? || text.call(value) }),
        Setting.new(name: :namespace, env: "ASSURED_JOBS_NS", default: "sidekiq_assured_jobs", kind: :text,
                    allowed: "a String that is not empty", check: text),
        Setting.new(name: :heartbeat_interval, env: "ASSURED_JOBS_HEARTBEAT_INTERVAL", default: 15, kind: :seconds,
                    allowed: "a number of seconds above 0, at most 86400", check: positive),
        Setting.new(name: :heartbeat_ttl, env: "ASSURED_JOBS_HEARTBEAT_TTL", default: 45, kind: :seconds,
                    allowed: "a number of seconds above heartbeat_interval, at most 86400", check: positive),
        Setting.new(name: :death_grace, env: "ASSURED_JOBS_DEATH_GRACE", default: 2, kind: :seconds,
                    allowed: "a number of seconds from 1 to 86400, or 0 to wait for the TTL",
                    check: ->(value) { duration.call(value) && (value.zero? || value >= 1) }),
        Setting.new(name: :recovery_lock_ttl, env: "ASSURED_JOBS_RECOVERY_LOCK_TTL", default: 300, kind: :seconds,
                    allowed: "a number of seconds above 0, at most 86400", check: positive),
        Setting.new(name: :track_timeout, env: "ASSURED_JOBS_TRACK_TIMEOUT", default: 5, kind: :seconds,
                    allowed: "a number of seconds from 0 to 86400", check: duration),
        Setting.new(name: :max_recoveries, env: "ASSURED_JOBS_MAX_RECOVERIES", default: 3, kind: :count,
                    allowed: "an Integer from 0 to 1000000", check: count),
        Setting.new(name: :dead_after, env: "ASSURED_JOBS_DEAD_AFTER", default: day, kind: :seconds,
                    allowed: "a number of seconds from 0 to 31536000",
                    check: ->(value) { value.is_a?(Numeric) && value.real? && value.between?(0, 365 * day) }),
        Setting.new(name: :auto_recovery_enabled, env: "ASSURED_JOBS_AUTO_RECOVERY", default: true,
                    kind: :boolean, allowed: "true or false", check: ->(value) { [true, false].include?(value) }),
        Setting.new(name: :fetch, env: "ASSURED_JOBS_FETCH", default: true, kind: :boolean, allowed: "true or false",
                    check: ->(value) { [true, false].include?(value) }),
        Setting.new(name: :redis_options, env: "ASSURED_JOBS_REDIS_OPTIONS", kind: :json,
                    allowed: "a Hash of options for the Redis client (JSON in the environment), or nil",
                    check: ->(value) { value.nil? || value.is_a?(Hash) }),
        Setting.new(name: :logger, kind: :object, allowed: "a Logger, or nil for Sidekiq's",
                    check: ->(value) { value.nil? || value.respond_to?(:add) }),
        Setting.new(name: :delayed_recovery_interval, env: "ASSURED_JOBS_DELAYED_RECOVERY_INTERVAL", default: 300,
                    kind: :seconds, allowed: "a number of seconds from 0 to 86400", check: duration),
        Setting.new(name: :delayed_recovery_count, env: "ASSURED_JOBS_DELAYED_RECOVERY_COUNT", default: 1, kind: :count,
                    allowed: "an Integer, 0 or more", check: ->(value) { value.is_a?(Integer) && value >= 0 })
      ].freeze

      # @param environment [Hash{String => String}]
      def initialize(environment: ENV)
        @environment = environment
        @set = {}
        @handlers = Events::NAMES.to_h { |name| [name, []] }
      end

      # Has a block called when something happens. It runs on a thread of its own; what it raises is logged.
      #
      # @param name [Symbol] one of {Events::NAMES}
      # @yieldparam event [Event]
      # @return [void]
      # @raise [ConfigurationError] for a name that is not among them
      def on(name, &handler)
        unless @handlers.key?(name)
          allowed = Events::NAMES.map(&:inspect).join(", ")
          raise ConfigurationError, "on is called with #{name.inspect}, but the events are #{allowed}"
        end
        raise ConfigurationError, "on(#{name.inspect}) needs a block" unless handler

        @handlers[name] += [handler]
        nil
      end

      # @param name [Symbol]
      # @return [Array<Proc>] what {#on} was given for it
      # @api private
      def handlers(name)
        @handlers.fetch(name)
      end

      SETTINGS.each do |setting|
        define_method(setting.name) do
          @set.fetch(setting.name) do
            value = setting.from_environment(@environment)
            value.nil? ? setting.default : value
          end
        end

        define_method(:"#{setting.name}=") do |value|
          @set[setting.name] = setting.checked(value)
        end
      end

      # @return [Configuration] a copy that can be changed without changing this one
      def dup
        super.tap do |copy|
          copy.instance_variable_set(:@set, @set.dup)
          copy.instance_variable_set(:@handlers, @handlers.dup)
        end
      end

      # @return [String] what code has set, without the options of a connection and without the environment
      def inspect
        set = SETTINGS.filter_map do |setting|
          "#{setting.name}=#{setting.shown(@set[setting.name])}" if @set.key?(setting.name)
        end
        "#<#{[self.class.name, *set].join(" ")}>"
      end

      # Checks what only all settings together can tell, environment included.
      #
      # @return [self]
      # @raise [ConfigurationError]
      def validate!
        SETTINGS.each { |setting| public_send(setting.name) }
        return self if heartbeat_ttl > heartbeat_interval

        raise ConfigurationError,
              "#{origin(:heartbeat_ttl)} is #{heartbeat_ttl.inspect}, but must be a number of seconds above " \
              "#{origin(:heartbeat_interval)} (#{heartbeat_interval.inspect}): " \
              "else an instance looks dead between two of its heartbeats"
      end

      private

      # @return [String] the name under which the user set this value
      def origin(name)
        setting = SETTINGS.find { |one| one.name == name }
        @set.key?(name) || setting.from_environment(@environment).nil? ? name.to_s : setting.env
      end
    end
  end
end
