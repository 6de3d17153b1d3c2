# frozen_string_literal: true

require_relative "compat"
require_relative "errors"
require_relative "redis_client_details"
require_relative "redis_options"
require_relative "redis_rb_details"
require_relative "secret"

module Sidekiq
  module AssuredJobs
    # Reads the fields of a Redis connection from the client object that Ruby uses, and so never interprets
    # URLs or the environment itself. Opens no socket. {RedisRbDetails} and {RedisClientDetails} know the clients,
    # {TlsDetails} knows TLS, {Passwords} the passwords that callables give.
    module RedisDetails
      # Seconds, where a client would wait for ever.
      PATIENCE = 5.0

      module_function

      # @return [Hash] details of the Redis that holds Sidekiq's queues
      # @raise [ConfigurationError]
      def of_sidekiq
        of_pool(Compat::SIDEKIQ.fetching_pool)
      end

      # Read once for each pool: its options never change, and later all of its connections may be busy fetching.
      #
      # @param pool [ConnectionPool] one of Sidekiq's
      # @return [Hash]
      # @raise [ConfigurationError]
      def of_pool(pool)
        @of_pools ||= {}.compare_by_identity
        @of_pools[pool] ||= pool.with { |connection| of_own(connection) }.freeze
      end

      # @param options [Hash] as for `Redis.new`, `RedisClient.config` or `RedisClient.sentinel`
      # @return [Hash] details of the Redis that `redis_options` names
      # @raise [ConfigurationError]
      def of_options(options)
        Secret.guard("redis_options", options) { Compat::SIDEKIQ.redis_details(options, "redis_options") }
      end

      # @param connection [Redis, Redis::Namespace, RedisClient]
      # @param origin [String] where the connection comes from, for error messages
      # @return [Hash]
      # @raise [ConfigurationError]
      def of_connection(connection, origin)
        prefix = +""
        while defined?(::Redis::Namespace) && connection.is_a?(::Redis::Namespace)
          # The inner one comes first in the key.
          prefix.prepend("#{connection.namespace}:")
          connection = connection.redis
        end
        # First, because redis-rb's `config` is a command.
        return of_redis_rb(connection, prefix, origin) if defined?(::Redis) && connection.is_a?(::Redis)
        return RedisClientDetails.of(connection.config, origin) if connection.respond_to?(:config)

        raise ConfigurationError, "#{origin}: a #{connection.class} connection is not supported"
      end

      # @param one [Hash]
      # @param other [Hash]
      # @return [Boolean] whether both are the same database of the same server
      def same_database?(one, other)
        place = %i[host port path db]
        one.values_at(*place) == other.values_at(*place) && same_master?(one[:sentinels], other[:sentinels])
      end

      # @param details [Hash]
      # @return [String] which database that is, for the log
      def place(details)
        server = details[:path] || details.dig(:sentinels, :master) || "#{details[:host]}:#{details[:port]}"
        "#{server}/#{details[:db]}"
      end

      # @api private
      def of_own(connection)
        Secret.guard("Sidekiq's Redis") { of_connection(connection, "Sidekiq's Redis") }
      end
      private_class_method :of_own

      # @api private
      def timeouts(options)
        %i[connect_timeout read_timeout write_timeout].to_h do |name|
          [name, options[name].to_f.positive? ? options[name].to_f : PATIENCE]
        end
      end

      # What the application calls its connections. Not what Sidekiq does: that holds the process id of a parent.
      #
      # @api private
      def own_name(id)
        id.to_s unless id.nil? || id.to_s.match?(/\ASidekiq-(server|client)-PID-\d+\z/)
      end

      # @api private
      def refuse_role(role, origin)
        return if role.to_s == "master"

        raise ConfigurationError, Printable.line("#{origin}: role #{role} is not supported: a replica takes no records")
      end

      # Two lists of sentinels seldom agree in all.
      #
      # @api private
      def same_master?(one, other)
        return one == other if one.nil? || other.nil?

        servers = [one, other].map { |all| all[:servers].map { |server| server.values_at(:host, :port) } }
        one[:master] == other[:master] && servers.reduce(:intersect?)
      end
      private_class_method :same_master?

      # @api private
      def of_redis_rb(connection, prefix, origin)
        client = connection._client
        return RedisRbDetails.of(client, prefix, origin) if client.respond_to?(:options)

        raise ConfigurationError, "#{origin}: cluster is not supported: #{RedisOptions::REFUSED[:cluster]}"
      end
      private_class_method :of_redis_rb
    end
  end
end
