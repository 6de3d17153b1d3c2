# frozen_string_literal: true

require_relative "compat"
require_relative "errors"
require_relative "log"
require_relative "redis_details"

module Sidekiq
  module AssuredJobs
    # Where Sidekiq's own pools lead. Sidekiq 7 makes each when it is first used, so `config.redis =` changes only those
    # that nobody has used yet.
    module Databases
      class << self
        # @return [void]
        # @raise [ConfigurationError] where some jobs are in queues that the engine cannot reach
        def check_capsules
          capsules = Compat::SIDEKIQ.pools.except("Sidekiq.redis")
          differing = differing(capsules)
          return if differing.empty?

          raise ConfigurationError, "capsules fetch from different databases: " \
                                    "#{[capsules.first, *differing].map { |pool| describe(pool) }.join(", ")}. " \
                                    "Set config.redis before anything uses Redis"
        end

        # @return [void]
        def warn_of_differences
          pools = Compat::SIDEKIQ.pools
          differing = differing(pools)
          return if differing.empty?

          here = pools.first
          Log.warn do
            "recovered jobs go where #{describe(here)} is; elsewhere: " \
              "#{differing.map { |pool| describe(pool) }.join(", ")}. Set config.redis before anything uses Redis"
          end
        end

        private

        # @return [Array<Array(String, ConnectionPool)>] those that lead elsewhere than the first
        def differing(pools)
          first, *others = pools.to_a
          others.reject { |_, pool| same?(pool, first.last) }
        end

        def same?(*pools)
          RedisDetails.same_database?(*pools.map { |pool| RedisDetails.of_pool(pool) })
        end

        def describe((name, pool))
          "#{name} (#{Printable.line(RedisDetails.place(RedisDetails.of_pool(pool)))})"
        end
      end
    end
  end
end
