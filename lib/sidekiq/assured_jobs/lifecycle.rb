# frozen_string_literal: true

require_relative "clock"
require_relative "compat"
require_relative "embedded"
require_relative "engine_settings"
require_relative "event_loop"
require_relative "fencing"
require_relative "fetch_watch"
require_relative "integrations/unique_jobs"
require_relative "log"
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

      # Seconds until a start is tried again that found too few threads.
      PAUSE = 5

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
      # @raise [OutOfThreads]
      def engine
        running || @mutex.synchronize { running || start }
      end

      # The same, for jobs that have to run in any case.
      #
      # @return [Native::Engine, nil] nil where there is no room for its threads; it is tried again after a while
      # @raise [ConfigurationError]
      def engine_if_possible
        running || @mutex.synchronize { running || (start if may_start?) }
      rescue OutOfThreads => e
        put_off(e)
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
        @engine = nil
        left = engine.stop(AssuredJobs.patience)
        @events.join(1)
        PushBack.forget
        Log.warn { farewell(left) } unless left == 0 # rubocop:disable Style/NumericPredicate
      end

      private

      def start_serving(config)
        # The engine may have been started before Sidekiq's own parts of these were loaded.
        Embedded.install
        Fencing.install
        engine_if_possible # also where the middleware tracks jobs, which would start it with the first one
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

      def events_of(engine)
        EventLoop.new(engine, -> { AssuredJobs.logger })
      rescue OutOfThreads
        engine.stop(0.0)
        raise
      end

      def put_off(error)
        @not_before = Clock.now + PAUSE
        return if @told

        @told = true
        Log.error { "cannot start: #{Printable.error(error)}. Jobs run as without this gem until there is room" }
      end

      def may_start?
        @not_before.nil? || Clock.now >= @not_before
      end

      def farewell(left)
        return "leaves #{left} jobs in flight; another instance will recover them" if left

        "Redis did not answer at the end; the others will notice it within heartbeat_ttl"
      end

      def start
        settings = EngineSettings.of(@configuration.call)
        engine = Native::Engine.start(settings)
        @events = events_of(engine)
        settings[:passwords].serve(engine)
        PushBack.install
        WorkInHand.install
        WorkerThreads.install
        Embedded.install
        Fencing.install
        RecoveryCount.install
        UniqueJobs.install
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
