# frozen_string_literal: true

require_relative "errors"

module Sidekiq
  module AssuredJobs
    # Reads the fields of a Redis connection from a configuration of redis-client, which Sidekiq uses since version 7.
    module RedisClientDetails
      # Options of the Ruby client that the engine cannot honour.
      UNSUPPORTED = { ssl: :ssl.to_proc, sentinels: :sentinel?.to_proc }.freeze

      module_function

      # @param config [RedisClient::Config]
      # @param origin [String] where it comes from, for error messages
      # @return [Hash]
      # @raise [ConfigurationError]
      def of(config, origin)
        UNSUPPORTED.each do |name, used|
          raise ConfigurationError, "#{origin}: #{name} is not supported yet" if used.call(config)
        end
        {
          host: config.host, port: config.port, path: config.path, db: config.db.to_i,
          username: username(config), password: password(config), key_prefix: "",
          connect_timeout: config.connect_timeout.to_f, read_timeout: config.read_timeout.to_f,
          write_timeout: config.write_timeout.to_f
        }
      end

      # @api private
      def username(config)
        # The reader says "default" where none was given, which servers without users do not know.
        config.instance_variable_get(:@username)
      end
      private_class_method :username

      # @api private
      def password(config)
        # Sidekiq 8 wraps it so that it is not logged; redis-client unwraps it since 0.24.
        password = config.password
        password.respond_to?(:call) ? password.call(config.username) : password
      end
      private_class_method :password
    end
  end
end
