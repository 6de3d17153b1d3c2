# frozen_string_literal: true

require "openssl"
require_relative "errors"
require_relative "passwords"
require_relative "printable"
require_relative "secret"

module Sidekiq
  module AssuredJobs
    # The setting `redis_options`, in the spelling of redis-rb or of redis-client, whichever of the two there is.
    module RedisOptions
      # Options that redis-client does not know: redis-rb's, and those of Sidekiq's pool.
      FOREIGN = %i[size pool_timeout pool_name logger reconnect_delay reconnect_delay_max tcp_keepalive
                   thread_safe].freeze
      # Options that matter to Ruby's own connection alone.
      WITHOUT_EFFECT = %i[reconnect_attempts inherit_socket protocol idle_timeout circuit_breaker custom
                          driver_info].freeze
      # All others.
      KNOWN = %i[url scheme host port path timeout connect_timeout read_timeout write_timeout network_timeout username
                 password db driver id ssl ssl_params sentinels name role sentinel_username sentinel_password
                 connector middlewares command_builder].freeze
      # What can be said to each option that is refused.
      REFUSED = {
        cluster: "Sidekiq's keys cannot be spread over a Redis Cluster",
        nodes: "Sidekiq's keys cannot be spread over a Redis Cluster",
        namespace: "the setting of the same name is there for that"
      }.freeze

      module_function

      # @param options [Hash]
      # @return [Redis] a client that has not connected yet
      # @raise [ConfigurationError]
      def redis(options)
        options = checked(options)
        refuse(:middlewares, "is not known to redis-rb") if options[:middlewares]
        # In redis-rb's spelling, the master's name is the host.
        name = options.delete(:name)
        options[:host] = name if name
        login = { username: options.delete(:sentinel_username), password: options.delete(:sentinel_password) }.compact
        options[:sentinels] &&= options[:sentinels].map { |sentinel| { **login, **place(sentinel) } }
        ::Redis.new(options)
      end

      # The same, for Ruby to use: redis-rb itself takes neither a callable for a password nor the names of files for
      # certificates.
      #
      # @param options [Hash]
      # @return [Redis]
      def usable_redis(options)
        Secret.guard("redis_options", options) do
          options = with_password(options)
          options[:ssl_params] &&= with_objects(options[:ssl_params].transform_keys(&:to_sym))
          redis(options)
        end
      end

      # The same, for Ruby to use: before 0.23 redis-client takes no callable for a password.
      #
      # @param options [Hash]
      # @return [RedisClient::Config, RedisClient::SentinelConfig]
      def usable_redis_client_config(options)
        Secret.guard("redis_options", options) { redis_client_config(with_password(options)) }
      end

      # @param options [Hash]
      # @return [RedisClient::Config, RedisClient::SentinelConfig]
      # @raise [ConfigurationError]
      def redis_client_config(options)
        options = checked(options).except(*FOREIGN)
        refuse(:connector, "is not known to redis-client") if options[:connector]
        options[:ssl] = true if options.delete(:scheme) == "rediss"
        # As redis-rb has it.
        options[:url] ||= ENV.fetch("REDIS_URL", nil) unless (options.keys & %i[host path sentinels]).any?
        options[:sentinels] ? sentinel_config(options) : ::RedisClient.config(**options)
      end

      # @api private
      def sentinel_config(options)
        options = options.except(:host, :port).merge(name: options[:name] || options[:host]).compact
        options[:role] &&= options[:role].to_sym
        options[:sentinels] = options[:sentinels].map { |one| one.is_a?(Hash) ? one.transform_keys(&:to_sym) : one }
        ::RedisClient.sentinel(**options)
      end
      private_class_method :sentinel_config

      # @api private
      def checked(options)
        options = options.transform_keys(&:to_sym)
        options.each_key do |name|
          refuse(name, "is not supported: #{REFUSED[name]}") if REFUSED.key?(name)
          next if [KNOWN, WITHOUT_EFFECT, FOREIGN].any? { |names| names.include?(name) }

          refuse(shown(name), "is not known")
        end
        timeout = options.delete(:network_timeout)
        timeout ? { timeout:, **options } : options
      end
      private_class_method :checked

      # @api private
      def refuse(name, why)
        raise ConfigurationError, "redis_options: #{Printable.line(name.to_s)} #{why}"
      end
      private_class_method :refuse

      # A mistake may put the password where a name belongs.
      #
      # @api private
      def shown(name)
        name.match?(/\A[a-z_]{1,40}\z/) ? name : "an option whose name is none"
      end
      private_class_method :shown

      # A sentinel may be a URL.
      #
      # @api private
      def place(sentinel)
        return sentinel.transform_keys(&:to_sym) if sentinel.is_a?(Hash)

        ::Redis.new(url: sentinel)._client.options.slice(:host, :port, :username, :password).compact
      end
      private_class_method :place

      # @api private
      def with_password(options)
        options = options.transform_keys(&:to_sym)
        callable = options[:password]
        options[:password] = answer(callable, options[:username]) if callable.respond_to?(:call)
        options
      end
      private_class_method :with_password

      # @api private
      def answer(callable, username)
        callable.call(username || Passwords::DEFAULT_USER)
      rescue *APPLICATION_ERRORS => e
        raise ConfigurationError, "redis_options: the callable that gives the password raised #{e.class}", cause: nil
      end
      private_class_method :answer

      # @api private
      def with_objects(params)
        text = ->(given) { File.exist?(given) ? File.read(given) : given }
        cert, key = params.values_at(:cert, :key)
        params = { **params, cert: OpenSSL::X509::Certificate.new(text.call(cert)) } if cert.is_a?(String)
        params = { **params, key: OpenSSL::PKey.read(text.call(key)) } if key.is_a?(String)
        params
      end
      private_class_method :with_objects
    end
  end
end
