# frozen_string_literal: true

require "forwardable"
require "sidekiq"

require_relative "assured_jobs/compat"
require_relative "assured_jobs/configuration"
require_relative "assured_jobs/errors"
require_relative "assured_jobs/inspection"
require_relative "assured_jobs/integrations/unique_jobs"
require_relative "assured_jobs/lifecycle"
require_relative "assured_jobs/log"
require_relative "assured_jobs/version"
require_relative "assured_jobs/worker"

module Sidekiq
  # Brings back the jobs of killed Sidekiq processes. Include {Worker} in the job classes that matter.
  #
  # Where a job travels: {WayIn} puts {Fetcher} in the place of Sidekiq's own, which gets jobs from the engine
  # ({Native}, in Rust), recorded as in flight already. Where another fetcher stays, {WorkInHand} has them recorded, and
  # {Middleware} waits for that. {DueJobs} brings retries and scheduled jobs into their queues. {Lifecycle} starts and
  # ends the engine, {PushBack} returns jobs at a hard shutdown, {EventLoop} writes what the engine has to say;
  # {Callbacks} tells the application, and runs the handlers of dead jobs ({Deaths}).
  module AssuredJobs
    # Seconds. A clean exit that asks for no answer looks like a death to the others.
    PATIENCE = 2.0
    private_constant :PATIENCE

    @configuration = Configuration.new
    @lifecycle = Lifecycle.new(-> { @configuration })

    class << self
      extend Forwardable
      include Inspection
      include UniqueJobs

      # @return [Configuration]
      attr_reader :configuration

      # Readers and writers of each setting, as the 1.x gem has them on the module itself.
      (Configuration::SETTINGS.map(&:name) - %i[instance_id logger]).each do |name|
        def_delegators :configuration, name, :"#{name}="
      end
      def_delegators :configuration, :instance_id=, :logger=

      # The engine of this process, started if there is none yet.
      # @!method engine
      #   @return [Native::Engine]
      #   @api private
      # The same, where there is room for its threads.
      # @!method engine_if_possible
      #   @return [Native::Engine, nil]
      #   @api private
      # The engine of this process, if it runs.
      # @!method running_engine
      #   @return [Native::Engine, nil]
      #   @api private
      def_delegator :@lifecycle, :engine
      def_delegator :@lifecycle, :engine_if_possible
      def_delegator :@lifecycle, :running, :running_engine

      # Changes settings, all or none. May be called any number of times, before Sidekiq starts.
      #
      # @yieldparam config [Configuration]
      # @return [void]
      # @raise [ConfigurationError] names the setting, its value, and what is allowed
      def configure
        changed = configuration.dup
        yield changed if block_given?
        @configuration = changed.validate!
        @lifecycle.install
        return unless running_engine

        Log.warn { "settings that change after the start take effect at the next start" }
      end

      # Who this process is. An engine that runs has claimed its id, which differs from the one that was asked
      # for where that was not free.
      #
      # @return [String, nil] nil where nothing runs and no id was asked for
      def instance_id
        running_engine&.instance_id(0) || configuration.instance_id
      end

      # How long to wait for Redis with what must reach it, however little a job waits to be recorded.
      #
      # @return [Float] seconds
      # @api private
      def patience
        [track_timeout.to_f, PATIENCE].max
      end

      # @return [Logger] Sidekiq's own, unless another one is set
      def logger
        configuration.logger || Sidekiq.logger
      end

      # Recovers now, with one look: whoever has no heartbeat at this moment counts as dead. Works in consoles
      # and rake tasks, too.
      #
      # @return [Integer] how many jobs are back in their queues
      # @raise [ConnectionError]
      # @raise [ConfigurationError]
      def reenqueue_orphans!
        return running_engine.sweep.first if running_engine

        settings = EngineSettings.of(configuration)
        visitor = Native::Engine.visit(settings)
        settings[:passwords].serve(visitor)
        events = EventLoop.new(visitor, -> { logger })
        begin
          visitor.sweep.first
        ensure
          visitor.stop(0.0)
          events.join(1)
        end
      end

      # A connection to the Redis with the tracking keys: Sidekiq's own, or the one of `redis_options`.
      #
      # @yieldparam connection [Redis, Sidekiq::RedisClientAdapter::CompatClient] what this Sidekiq uses
      # @return [Object] what the block returns
      def redis_sync(&)
        redis_options ? Compat::SIDEKIQ.connect(redis_options, &) : Sidekiq.redis(&)
      end

      # @param key [String]
      # @return [String] the key as it is named in Redis
      def namespaced_key(key)
        "#{namespace}:#{key}"
      end

      # Ends the engine of this process. Sidekiq servers do it when they exit.
      #
      # @return [void]
      def stop
        @lifecycle.stop
      end

      # @api private
      attr_reader :lifecycle
    end

    @lifecycle.install
  end
end
