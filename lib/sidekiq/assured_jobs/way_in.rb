# frozen_string_literal: true

require "forwardable"
require_relative "compat"
require_relative "databases"
require_relative "due_jobs"
require_relative "fetch_modes"
require_relative "fetchers"

module Sidekiq
  module AssuredJobs
    # Decides how jobs come to be in flight: by assured fetch, or by the middleware alone where another fetcher
    # is at work or the records cannot change together with the queues. What is set when Sidekiq starts is a
    # beginning: {FetchWatch} sees what the threads really fetch by, and that is what the log tells.
    module WayIn
      ASSURED = FetchModes::Mode.new.freeze
      CHANGED = FetchModes::Mode.new("another gem changes how Sidekiq fetches").freeze
      private_constant :ASSURED, :CHANGED

      @modes = FetchModes.new
      @mutex = Mutex.new

      class << self
        extend Forwardable

        # @!method foreign_fetcher
        #   (see FetchModes#foreign_fetcher)
        def_delegator :@modes, :foreign_fetcher

        # Puts our fetcher in place, unless something speaks against it.
        #
        # @param configuration [Configuration]
        # @return [void]
        def choose(configuration)
          Databases.check_capsules
          Databases.warn_of_differences
          @setting = setting(configuration)
          @modes = FetchModes.new
          @fetch_by_themselves = []
          @chosen = true
          # Records and queues in two databases cannot change in one step.
          DueJobs.install if AssuredJobs.running_engine && !EngineSettings.second_redis?(configuration)
          return if @setting

          Compat::SIDEKIQ.fetch_with(Fetcher) unless Fetchers.foreign.any? || Fetchers.stock_changed?
        end

        # @return [Boolean] whether there was a choice
        def chosen?
          @chosen
        end

        # A thread is about to use a fetcher that it has not used before. Sidekiq's own gives way to ours where nothing
        # speaks against it; ours gives way to a changed one of Sidekiq's. As at the start, but later.
        #
        # @param processor [Sidekiq::Processor]
        # @param fetcher [Object] that it has
        # @return [Boolean] whether the way is known now; else the fetcher may ask ours, and only a fetch can tell
        def look(processor, fetcher)
          mode = mode_by(processor, fetcher)
          @modes.note(Compat::SIDEKIQ.capsule_of(processor), mode) if mode
          !mode.nil?
        end

        # @param capsule [String, nil]
        # @param ours [Boolean] whether its jobs come from our fetcher
        # @return [Boolean] whether that is what was noted
        def known?(capsule, ours:)
          mode = @modes[capsule]
          !mode.nil? && mode.reason.nil? == ours
        end

        # A job shows who brings those of a capsule. Who brought one without us may do so again.
        #
        # @param capsule [String, nil]
        # @param fetcher [Object] that the thread has
        # @param ours [Boolean] whether our fetcher was asked for it
        # @return [void]
        def brought(capsule, fetcher, ours:)
          key = [capsule, Fetchers.name_of(fetcher)]
          @mutex.synchronize { @fetch_by_themselves |= [key] } unless ours
          assured = ours && !@fetch_by_themselves.include?(key)
          @modes.note(capsule, assured ? ASSURED : foreign(fetcher))
        end

        # A fetch brought nothing, which tells something only where nothing else has.
        #
        # @param capsule [String, nil]
        # @param fetcher [Object] that the thread has
        # @param ours [Boolean] whether our fetcher was asked
        # @return [void]
        def brought_nothing(capsule, fetcher, ours:)
          @modes.note(capsule, ours ? ASSURED : foreign(fetcher)) unless @modes[capsule]
        end

        private

        # @return [String, nil] what speaks against our fetcher whoever else fetches
        def setting(configuration)
          return "fetch is set to false" unless configuration.fetch
          return "the operating system gives no more threads" unless room_to_fetch?

          "redis_options names another Redis than the one with the queues" if
            EngineSettings.second_redis?(configuration)
        end

        def room_to_fetch?
          AssuredJobs.engine_if_possible&.begin_to_fetch
          !AssuredJobs.running_engine.nil?
        rescue OutOfThreads
          false
        end

        def mode_by(processor, fetcher)
          if Fetchers.stock?(fetcher) then stock(processor, fetcher)
          elsif @setting || !Fetchers.holds_ours?(fetcher) then foreign(fetcher)
          elsif Fetchers.plain?(fetcher) then plain(fetcher)
          end
        end

        def stock(processor, fetcher)
          return FetchModes::Mode.new(@setting) if @setting
          return CHANGED if Fetchers.stock_changed?
          return foreign(fetcher) if Fetchers.foreign.any?

          @mutex.synchronize { Compat::SIDEKIQ.give_fetcher(processor, Fetcher) }
          ASSURED
        end

        def plain(fetcher)
          return ASSURED unless Fetchers.stock_changed?

          fetcher.step_back
          CHANGED
        end

        def foreign(fetcher)
          FetchModes::Mode.new(@setting || "#{Fetchers.name_of(fetcher)} fetches the jobs", fetcher)
        end
      end
    end
  end
end
