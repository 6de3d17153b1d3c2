# frozen_string_literal: true

require_relative "errors"
require_relative "printable"
require_relative "secret"
require_relative "tls_details"

module Sidekiq
  module AssuredJobs
    # Reads the fields of a connection from a configuration of redis-client, which Sidekiq uses since version 7. Opens
    # no socket: with sentinels, the configuration's own `host` would ask them.
    class RedisClientDetails
      include Secret::Holder

      # Drivers that do what redis-client's own does.
      DRIVERS = %w[RedisClient::RubyConnection RedisClient::HiredisConnection].freeze

      # @param config [RedisClient::Config, RedisClient::SentinelConfig]
      # @param origin [String] where it comes from, for error messages
      # @return [Hash]
      # @raise [ConfigurationError]
      def self.of(config, origin)
        new(config, origin).to_h
      end

      # @param config [RedisClient::Config, RedisClient::SentinelConfig]
      # @param origin [String]
      def initialize(config, origin)
        @config = config
        @origin = origin
      end

      # @return [Hash]
      # @raise [ConfigurationError]
      def to_h
        refuse_what_ruby_alone_can_do
        {
          **(@config.sentinel? ? { host: nil, port: nil, path: nil, sentinels: } : place),
          tls: tls(@config), db: @config.db.to_i, client_name: RedisDetails.own_name(@config.id),
          **login(@config), username_optional: false,
          **RedisDetails.timeouts(connect_timeout: @config.connect_timeout, read_timeout: @config.read_timeout,
                                  write_timeout: @config.write_timeout),
          key_prefix: ""
        }
      end

      private

      def refuse(what)
        raise ConfigurationError, "#{@origin}: #{Printable.line(what)}"
      end

      def refuse_what_ruby_alone_can_do
        driver = @config.driver
        refuse("driver #{driver} is not supported") unless DRIVERS.include?(driver.to_s)
        # What puts a prefix before keys, as redis-client-namespace does.
        builder = @config.command_builder
        refuse("command_builder #{builder} is not supported") unless builder == ::RedisClient::CommandBuilder
        # Those that only watch or count the calls do no harm; one that connects may choose another server.
        connecting = middlewares.find { |mod| mod.public_instance_methods(false).include?(:connect) }
        refuse("middlewares: #{connecting} is not supported, because it changes how to connect") if connecting
      end

      # @return [Array<Module>] those of this configuration, without what the application has registered for all
      def middlewares
        stack = @config.middlewares_stack
        ours = ["RedisClient::CircuitBreaker::Middleware"]
        stack.ancestors.take_while { |mod| mod != ::RedisClient::Middlewares }
             .reject { |mod| mod.equal?(stack) || ours.include?(mod.name) }
      end

      def place
        refuse("ssl is not supported on a unix socket") if @config.path && @config.ssl
        { host: @config.host, port: @config.port, path: @config.path, sentinels: nil }
      end

      def sentinels
        RedisDetails.refuse_role(@config.instance_variable_get(:@role), @origin)
        servers = @config.sentinels.map do |sentinel|
          { host: sentinel.host, port: sentinel.port, **login(sentinel), tls: tls(sentinel) }
        end
        { master: @config.instance_variable_get(:@name), servers: }
      end

      def tls(config)
        TlsDetails.of(config.ssl_params, @origin) if config.ssl
      end

      # Older versions give a callable as it is, newer ones call it, and make a callable of each String. The readers
      # say "default" where no name was given, which is no name to log in with.
      def login(config)
        username, password = %i[@username @password].map { |name| config.instance_variable_get(name) }
        { username:, password: Secret.of(password) }
      end
    end
  end
end
