# frozen_string_literal: true

require_relative "due_jobs"
require_relative "fetcher"

module Sidekiq
  module AssuredJobs
    # Decides how jobs come to be in flight: by assured fetch, or by the middleware alone where another fetcher
    # is at work or the records cannot change together with the queues.
    module WayIn
      class << self
        # Puts our fetcher in place, unless something speaks against it.
        #
        # @param engine [Native::Engine]
        # @param configuration [Configuration]
        # @return [String] which way is on, and why, for the log
        def choose(engine, configuration)
          obstacle = obstacle(configuration)
          return "jobs are tracked by the middleware, because #{obstacle}" if obstacle

          options[:fetch] = Fetcher.new(engine, options)
          options[:scheduled_enq] ||= DueJobs
          "jobs are tracked by assured fetch"
        end

        # The fetcher that the application or another gem has set, if any.
        #
        # @return [Object, nil]
        def foreign_fetcher
          fetch = options[:fetch]
          ours = [nil, Sidekiq::BasicFetch].include?(fetch) || fetch.instance_of?(Sidekiq::BasicFetch)
          fetch unless ours || fetch.is_a?(Fetcher)
        end

        private

        def obstacle(configuration)
          if !configuration.fetch then "fetch is set to false"
          elsif foreign_fetcher then "#{foreign_fetcher.class} fetches the jobs"
          elsif changed? then "another gem changes how Sidekiq fetches"
          elsif class_methods? then "this Sidekiq takes no fetcher that is shared by its threads"
          elsif EngineSettings.second_redis?(configuration)
            "redis_options names another Redis than the one with the queues"
          end
        end

        # Gems that pause or throttle queues prepend to these, or define them anew.
        def changed?
          %i[initialize retrieve_work queues_cmd].any? do |name|
            method = Sidekiq::BasicFetch.instance_method(name)
            method.owner != Sidekiq::BasicFetch || !method.source_location&.first&.end_with?("/sidekiq/fetch.rb")
          end
        end

        # Sidekiq 6.0
        def class_methods?
          Sidekiq::BasicFetch.respond_to?(:bulk_requeue)
        end

        # Sidekiq 6.5 moved its options.
        def options
          Sidekiq.respond_to?(:[]) ? Sidekiq : Sidekiq.options
        end
      end
    end
  end
end
