# frozen_string_literal: true

require "json"
require_relative "certificates"

# Connects the engine as settings say, and tells how it went.
module Connections
  APP = File.expand_path("connection_app.rb", __dir__)

  # @param options [Hash, nil] redis_options; nil for Sidekiq's own Redis
  # @return [Integer] number of instances that the engine sees there
  # @raise [Sidekiq::AssuredJobs::ConnectionError]
  # @raise [Sidekiq::AssuredJobs::ConfigurationError]
  def look(options = nil)
    Sidekiq::AssuredJobs::Native.instances(settings(options)).size
  end

  # @return [Hash] what the engine is told
  def settings(options = nil)
    configuration = Sidekiq::AssuredJobs::Configuration.new(environment: {})
    configuration.redis_options = options
    Sidekiq::AssuredJobs::EngineSettings.of(configuration)
  end

  # @return [Hash] details of the Redis with the records
  def details(options = nil)
    settings(options).fetch(:tracking)
  end

  # @param options [Hash] redis_options
  # @return [String] what Ruby's own connection to the same place answers to PING
  def ping(options)
    before = Sidekiq::AssuredJobs.configuration
    Sidekiq::AssuredJobs.instance_variable_set(:@configuration, before.dup)
    Sidekiq::AssuredJobs.redis_options = options
    Sidekiq::AssuredJobs.redis_sync(&:ping)
  ensure
    Sidekiq::AssuredJobs.instance_variable_set(:@configuration, before)
  end

  def fail_to_connect(message)
    raise_error(Sidekiq::AssuredJobs::ConnectionError, message)
  end

  def refuse(message)
    raise_error(Sidekiq::AssuredJobs::ConfigurationError, message)
  end

  # @param options [Hash] Sidekiq's own Redis, as JSON can hold it
  # @return [SidekiqProcess] ready
  def start_connected(options, env: {}, **rest)
    start_sidekiq(app: APP, env: { "SPEC_REDIS" => JSON.generate(options) }.merge(env), **rest)
  end

  def free_port
    TCPServer.open("127.0.0.1", 0) { |server| server.addr[1] }
  end
end

RSpec.configure { |config| config.include Connections, :connection }
