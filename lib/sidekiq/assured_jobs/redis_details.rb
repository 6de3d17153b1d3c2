# frozen_string_literal: true

require_relative "errors"

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

        of_connection(::Redis.new(options), "redis_options")
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
        unless connection.respond_to?(:_client) && connection._client.respond_to?(:options)
          raise ConfigurationError, "#{origin}: a #{connection.class} connection is not supported"
        end

        of_client_options(connection._client.options, prefix, origin)
      end

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
