# frozen_string_literal: true

require_relative "sidekiq6"

module Sidekiq
  module AssuredJobs
    module Compat
      # Sidekiq 6.0: each thread makes a fetcher of its own, and the class pushes back.
      class Sidekiq60 < Sidekiq6
        # Hands one fetcher to all threads.
        class Shared
          # @param fetcher [Sidekiq::BasicFetch]
          def initialize(fetcher)
            @fetcher = fetcher
          end

          # @return [Sidekiq::BasicFetch]
          def new(_options)
            @fetcher
          end

          # @return [void]
          def bulk_requeue(...)
            ::Sidekiq::BasicFetch.bulk_requeue(...)
          end
        end

        # (see Sidekiq6#fetch_with)
        def fetch_with(fetcher_class)
          options[:fetch] = Shared.new(fetcher_class.new(options))
        end

        # (see Sidekiq6#give_fetcher)
        def give_fetcher(processor, fetcher_class)
          fetch_with(fetcher_class) unless options[:fetch].is_a?(Shared)
          processor.instance_variable_set(:@strategy, options[:fetch].new(options))
        end
      end
    end
  end
end
