# frozen_string_literal: true

require_relative "compat"
require_relative "errors"
require_relative "redis_client_details"

module Sidekiq
  module AssuredJobs
    # Reads the fields of a Redis connection from the client object that Ruby uses, and so never interprets
    # URLs or the environment itself. Opens no socket.
    module RedisDetails
      # Options of the Ruby client that the engine cannot honour.
      UNSUPPORTED = {
        ssl: ->(options) { options[:ssl] || options[:scheme] == "rediss" },
        sentinels: ->(options) { options[:sentinels] },
        connector: ->(options) { options[:connector] && options[:connector] != ::Redis::Client::Connector }
      }.freeze

      module_function

      # @return [Hash] details of the Redis that holds Sidekiq's queues
      # @raise [ConfigurationError]
      def of_sidekiq
        Sidekiq.redis { |connection| of_connection(connection, "Sidekiq's Redis") }
      end

      # @param options [Hash] as for `Redis.new`
      # @return [Hash] details of the Redis that `redis_options` names
      # @raise [ConfigurationError]
      def of_options(options)
        if options[:cluster] || options[:nodes]
          raise ConfigurationError, "redis_options: #{options[:cluster] ? "cluster" : "nodes"} is not supported: " \
                                    "Sidekiq's keys cannot be spread over a Redis Cluster"
        end

        Compat::SIDEKIQ.connect(options) { |connection| of_connection(connection, "redis_options") }
      rescue ArgumentError, URI::Error => e
        raise ConfigurationError, "redis_options: #{e.message}"
      end

      # @param connection [Redis, Redis::Namespace]
      # @param origin [String] where the connection comes from, for error messages
      # @return [Hash]
      # @raise [ConfigurationError]
      def of_connection(connection, origin)
        prefix = +""
        while defined?(::Redis::Namespace) && connection.is_a?(::Redis::Namespace)
          prefix.prepend("#{connection.namespace}:")
          connection = connection.redis
        end
        if connection.respond_to?(:_client) && connection._client.respond_to?(:options)
          of_client_options(connection._client.options, prefix, origin)
        elsif connection.respond_to?(:config) && !redis_rb?(connection)
          RedisClientDetails.of(connection.config, origin)
        else
          raise ConfigurationError, "#{origin}: a #{connection.class} connection is not supported"
        end
      end

      # @api private
      def redis_rb?(connection)
        # Its `config` is a command.
        defined?(::Redis) && connection.is_a?(::Redis)
      end
      private_class_method :redis_rb?

      # @api private
      def of_client_options(options, prefix, origin)
        UNSUPPORTED.each do |name, used|
          raise ConfigurationError, "#{origin}: #{name} is not supported yet" if used.call(options)
        end
        {
          host: options[:host], port: options[:port], path: options[:path], db: options[:db].to_i,
          username: options[:username], password: options[:password], key_prefix: prefix,
          connect_timeout: options[:connect_timeout].to_f, read_timeout: options[:read_timeout].to_f,
          write_timeout: options[:write_timeout].to_f
        }
      end
      private_class_method :of_client_options

      # @param one [Hash]
      # @param other [Hash]
      # @return [Boolean] whether both are the same database of the same server
      def same_database?(one, other)
        place = %i[host port path db]
        one.values_at(*place) == other.values_at(*place)
      end
    end
  end
end
