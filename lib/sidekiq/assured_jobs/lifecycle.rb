# frozen_string_literal: true

require_relative "compat"
require_relative "embedded"
require_relative "engine_settings"
require_relative "event_loop"
require_relative "fencing"
require_relative "fetch_watch"
require_relative "middleware"
require_relative "native"
require_relative "push_back"
require_relative "recovery_count"
require_relative "way_in"
require_relative "work_in_hand"
require_relative "worker_threads"

module Sidekiq
  module AssuredJobs
    # When the engine starts and ends. Requiring the gem starts nothing; the `:startup` event of a Sidekiq
    # server does, which a preforking parent fires in each child.
    class Lifecycle
      # Seconds that a start may wait for the instance id. Redis may be away; the start goes on then.
      CLAIM = 2

      # @param configuration [Proc] returns the {Configuration} in force
      def initialize(configuration)
        @configuration = configuration
        @mutex = Mutex.new
        @installed = false
      end

      # Hooks into Sidekiq, once. In a process that is no Sidekiq server this does nothing.
      #
      # @return [void]
      def install
        return if @installed

        # Where no server runs, Sidekiq 7 keeps each block for an embedded one.
        Sidekiq.configure_server do |config|
          next if @installed

          @installed = true
          # Outermost, so that a job is in flight before other middleware can fail.
          config.server_middleware { |chain| chain.prepend(Middleware) }
          config.on(:startup) { start_serving(config) }
        end
      end

      # The engine of this process, started if there is none yet. A forked child gets one of its own.
      #
      # @return [Native::Engine]
      # @raise [ConfigurationError]
      def engine
        running || @mutex.synchronize { running || start }
      end

      # @return [Native::Engine, nil] the engine of this process, if it runs
      def running
        @engine if @pid == ::Process.pid
      end

      # Ends the engine: what is left in flight is handed over, and the instance leaves the registry.
      #
      # @return [void]
      def stop
        return unless running

        engine = @engine
        WorkerThreads.requeue_abandoned
        PushBack.await_threads(engine)
        @engine = nil
        left = engine.stop(AssuredJobs.patience)
        @events.join(1)
        PushBack.forget
        AssuredJobs.logger.warn { "AssuredJobs: #{farewell(left)}" } unless left == 0 # rubocop:disable Style/NumericPredicate
      end

      private

      def start_serving(config)
        # The engine may have been started before Sidekiq's own parts of these were loaded.
        Embedded.install
        Fencing.install
        engine # also where jobs are tracked by the middleware, which would start it with the first job
        # Appended to what Sidekiq goes through now: other handlers come before, and may set a fetcher.
        config.on(:startup) { choose_way_in }
      end

      def choose_way_in
        PushBack.install
        chains = Compat::SIDEKIQ.copied_server_chains
        chains.each { |chain| chain.prepend(Middleware) unless chain.exists?(Middleware) }
        WayIn.choose(@configuration.call)
        FetchWatch.install
      end

      def farewell(left)
        return "leaves #{left} jobs in flight; another instance will recover them" if left

        "Redis did not answer at the end; the others will notice it within heartbeat_ttl"
      end

      def start
        settings = EngineSettings.of(@configuration.call)
        engine = Native::Engine.start(settings)
        settings[:passwords].serve(engine)
        @events = EventLoop.new(engine, -> { AssuredJobs.logger })
        PushBack.install
        WorkInHand.install
        WorkerThreads.install
        Embedded.install
        Fencing.install
        RecoveryCount.install
        pid = ::Process.pid
        # Sidekiq has no event for "all jobs have ended" before 8.0.2. A forked child inherits this handler.
        at_exit { stop if ::Process.pid == pid }
        engine.instance_id(CLAIM)
        @pid = pid
        @engine = engine
      end
    end
  end
end
