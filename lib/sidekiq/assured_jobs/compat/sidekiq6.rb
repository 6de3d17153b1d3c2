# frozen_string_literal: true

module Sidekiq
  module AssuredJobs
    module Compat
      # Sidekiq 6.1 to 6.5: options of the module itself, one fetcher that all threads share, redis-rb.
      class Sidekiq6
        # @return [#[], #[]=] Sidekiq's options
        def options
          # 6.5 moved them.
          ::Sidekiq.respond_to?(:[]) ? ::Sidekiq : ::Sidekiq.options
        end

        # @return [Hash{String => ConnectionPool}] Sidekiq's pools by what they serve, the one that fetches first
        def pools
          { "Sidekiq.redis" => ::Sidekiq.redis_pool }
        end

        # @return [Integer] how many threads run jobs
        def concurrency
          options[:concurrency].to_i
        end

        # @return [ConnectionPool] of the Redis that jobs are fetched from
        def fetching_pool
          pools.values.first
        end

        # @return [Array<Sidekiq::Middleware::Chain>] copies of the chain of server middleware that were made already
        def copied_server_chains
          []
        end

        # @return [Array<Proc>]
        def death_handlers
          ::Sidekiq.death_handlers
        end

        # @return [Boolean] whether `sidekiq_retries_exhausted` may say `:discard`, so that a job is not kept
        def discards?
          false
        end

        # @return [Boolean] whether death handlers are told of discarded jobs, too, in which `discarded_at` says so
        def tells_of_discards?
          false
        end

        # @return [Boolean] whether a payload's points in time are integer milliseconds
        def integer_timestamps?
          false
        end

        # @return [Array<Object>] the fetchers, or classes of them, that are set or made already
        def fetchers
          [options[:fetch]].compact
        end

        # Makes Sidekiq fetch with this class from its start on.
        #
        # @param fetcher_class [Class]
        # @return [Object] what {#fetchers} has from now on
        def fetch_with(fetcher_class)
          options[:fetch] = fetcher_class.new(options)
        end

        # Makes a thread that has Sidekiq's own fetcher, and everybody who still asks for one, fetch with this class.
        #
        # @param processor [Sidekiq::Processor]
        # @param fetcher_class [Class]
        # @return [void]
        def give_fetcher(processor, fetcher_class)
          fetch_with(fetcher_class) unless options[:fetch].is_a?(fetcher_class)
          processor.instance_variable_set(:@strategy, options[:fetch])
        end

        # @param processor [Sidekiq::Processor]
        # @return [Object] what it fetches by
        def fetcher_of(processor)
          processor.instance_variable_get(:@strategy)
        end

        # @param _processor [Sidekiq::Processor]
        # @return [String, nil] name of its capsule
        def capsule_of(_processor)
          nil
        end

        # @return [Array<String, nil>] of the capsules that fetch
        def capsule_names
          [nil]
        end

        # @return [String, nil] name of the capsule that this thread belongs to
        def current_capsule
          nil
        end

        # @param fetcher [Object] as {#fetchers} has it
        # @return [Module] where `bulk_requeue` can be prepended to
        def requeuer(fetcher)
          fetcher.singleton_class
        end

        # Has the manager of a processor whose thread ended put another one in its place, unless it is quiet or stops.
        #
        # @param processor [Sidekiq::Processor]
        # @param reason [Exception]
        # @return [void]
        def replace(processor, reason)
          manager = processor.instance_variable_get(:@mgr)
          # Since 6.5 a processor knows only whom to call.
          return manager.processor_died(processor, reason) if manager

          processor.instance_variable_get(:@callback).call(processor, reason)
        end

        # A connection as the running Sidekiq makes them.
        #
        # @param redis_options [Hash]
        # @yieldparam connection [Redis, Sidekiq::RedisClientAdapter::CompatClient]
        # @return [Object] what the block returns
        # @raise [ArgumentError]
        def connect(redis_options)
          connection = RedisOptions.usable_redis(redis_options)
          yield connection
        ensure
          connection&.close
        end

        # @param redis_options [Hash]
        # @param origin [String] where they come from, for error messages
        # @return [Hash] as {RedisDetails.of_connection} returns it
        # @raise [ConfigurationError]
        def redis_details(redis_options, origin)
          RedisDetails.of_connection(RedisOptions.redis(redis_options), origin)
        end
      end
    end
  end
end
