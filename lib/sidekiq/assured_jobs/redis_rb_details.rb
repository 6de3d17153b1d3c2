# frozen_string_literal: true

require_relative "errors"
require_relative "printable"
require_relative "secret"
require_relative "tls_details"

module Sidekiq
  module AssuredJobs
    # Reads the fields of a connection from a client of redis-rb 4, which Sidekiq uses before version 7.
    class RedisRbDetails
      include Secret::Holder

      # Drivers that do what redis-rb's own does.
      DRIVERS = %w[Redis::Connection::Ruby Redis::Connection::Hiredis].freeze

      # @param client [Redis::Client]
      # @param prefix [String] what redis-namespace puts before each key
      # @param origin [String] where it comes from, for error messages
      # @return [Hash]
      # @raise [ConfigurationError]
      def self.of(client, prefix, origin)
        new(client, prefix, origin).to_h
      end

      # @param client [Redis::Client]
      # @param prefix [String]
      # @param origin [String]
      def initialize(client, prefix, origin)
        @connector = client.instance_variable_get(:@connector)
        @options = client.options
        @prefix = prefix
        @origin = origin
      end

      # @return [Hash]
      # @raise [ConfigurationError]
      def to_h
        refuse_driver
        refuse_connector
        {
          **place,
          tls:,
          db: @options[:db].to_i,
          client_name: RedisDetails.own_name(@options[:id]),
          username: @options[:username],
          password: Secret.of(@options[:password]),
          # It tries the password without the name, too.
          username_optional: true,
          **RedisDetails.timeouts(@options),
          key_prefix: @prefix
        }
      end

      private

      def refuse(what)
        raise ConfigurationError, "#{@origin}: #{Printable.line(what)}"
      end

      def refuse_driver
        driver = @options[:driver]
        refuse("driver #{driver} is not supported") unless driver.nil? || DRIVERS.include?(driver.to_s)
        refuse("ssl is not supported on a unix socket") if @options[:path] && @options[:ssl]
      end

      def refuse_connector
        ours = [::Redis::Client::Connector, ::Redis::Client::Connector::Sentinel]
        return if ours.any? { |known| @connector.instance_of?(known) }

        refuse("connector #{@connector.class} is not supported: the engine cannot call Ruby to connect")
      end

      def place
        return { host: nil, port: nil, path: nil, sentinels: } if @options[:sentinels]

        { host: @options[:host], port: @options[:port], path: @options[:path], sentinels: nil }
      end

      # The host that the options name becomes that of the master once it is known; the connector keeps the name.
      def sentinels
        RedisDetails.refuse_role(@connector.instance_variable_get(:@role), @origin)
        servers = @options[:sentinels].map do |sentinel|
          sentinel = sentinel.transform_keys(&:to_sym)
          { host: sentinel[:host].to_s, port: Integer(sentinel[:port] || 26_379), username: sentinel[:username],
            password: Secret.of(sentinel[:password]), tls: }
        end
        { master: @connector.instance_variable_get(:@master), servers: }
      end

      def tls
        return @tls if defined?(@tls)

        spoken = @options[:ssl] || @options[:scheme] == "rediss"
        @tls = spoken ? TlsDetails.of(@options[:ssl_params], @origin) : nil
      end
    end
  end
end
