# frozen_string_literal: true

require_relative "sidekiq6"

module Sidekiq
  module AssuredJobs
    module Compat
      # Sidekiq 7: a configuration object that is frozen once Sidekiq runs (7.3.3), a fetcher for each capsule,
      # redis-client.
      class Sidekiq7 < Sidekiq6
        # (see Sidekiq6#options)
        def options
          ::Sidekiq.default_configuration
        end

        # In a client there are no capsules. Each pool is made when it is first used, with the options of that moment,
        # so they may differ.
        #
        # (see Sidekiq6#pools)
        def pools
          capsules = ::Sidekiq.default_configuration.capsules
          capsules.values_at("default", *capsules.keys).compact.uniq
                  .to_h { |capsule| ["capsule #{capsule.name}", capsule.redis_pool] }
                  .merge(super)
        end

        # (see Sidekiq6#concurrency)
        def concurrency
          options.capsules.each_value.sum(&:concurrency)
        end

        # A capsule copies the chain when it is first asked for it, and learns nothing of what is added later.
        #
        # (see Sidekiq6#copied_server_chains)
        def copied_server_chains
          options.capsules.values.filter_map { |capsule| capsule.instance_variable_get(:@server_chain) }
        end

        # (see Sidekiq6#death_handlers)
        def death_handlers
          ::Sidekiq.default_configuration.death_handlers
        end

        # (see Sidekiq6#discards?)
        def discards?
          # Since 7.2.
          Gem::Version.new(::Sidekiq::VERSION) >= Gem::Version.new("7.2")
        end

        # A capsule makes its own when it is asked for it, and keeps it.
        #
        # (see Sidekiq6#fetchers)
        def fetchers
          [options[:fetch_class], *options.capsules.values.map { |capsule| capsule.instance_variable_get(:@fetcher) }]
            .compact
        end

        # (see Sidekiq6#fetch_with)
        def fetch_with(fetcher_class)
          options.capsules.each_value { |capsule| capsule.instance_variable_set(:@fetcher, nil) }
          options[:fetch_class] = fetcher_class
        end

        # (see Sidekiq6#give_fetcher)
        def give_fetcher(processor, fetcher_class)
          capsule = processor.capsule
          return if capsule.fetcher.is_a?(fetcher_class)

          capsule.instance_variable_set(:@fetcher, fetcher_class.new(capsule))
        end

        # (see Sidekiq6#fetcher_of)
        def fetcher_of(processor)
          processor.capsule.fetcher
        end

        # (see Sidekiq6#capsule_of)
        def capsule_of(processor)
          processor.capsule.name
        end

        # (see Sidekiq6#capsule_names)
        def capsule_names
          options.capsules.keys
        end

        # (see Sidekiq6#current_capsule)
        def current_capsule
          Thread.current[:sidekiq_capsule]&.name
        end

        # (see Sidekiq6#requeuer)
        def requeuer(fetcher)
          fetcher.is_a?(Class) ? fetcher : super
        end

        # (see Sidekiq6#connect)
        def connect(redis_options)
          require "sidekiq/redis_client_adapter"
          client = RedisOptions.usable_redis_client_config(redis_options).new_client
          connection = ::Sidekiq::RedisClientAdapter::CompatClient.new(client)
          yield connection
        ensure
          connection&.close
        end

        # (see Sidekiq6#redis_details)
        def redis_details(redis_options, origin)
          RedisClientDetails.of(RedisOptions.redis_client_config(redis_options), origin)
        end
      end
    end
  end
end
