# frozen_string_literal: true

require_relative "compat"
require_relative "databases"
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
        # @param configuration [Configuration]
        # @return [String] which way is on, and why, for the log
        def choose(configuration)
          Databases.check_capsules
          Databases.warn_of_differences
          obstacle = obstacle(configuration)
          return "jobs are tracked by the middleware, because #{obstacle}" if obstacle

          @ours = Compat::SIDEKIQ.fetch_with(Fetcher)
          way_in = "jobs are tracked by assured fetch"
          scheduler = foreign_scheduler
          return "#{way_in}, but a SIGKILL may lose one that is due, which #{scheduler} moves to its queue" if scheduler

          Compat::SIDEKIQ.options[:scheduled_enq] = DueJobs
          way_in
        end

        # The fetcher that the application or another gem has set, if any.
        #
        # @return [Object, nil]
        def foreign_fetcher
          Compat::SIDEKIQ.fetchers.find { |fetcher| !ours?(fetcher) && !stock?(fetcher) }
        end

        private

        def obstacle(configuration)
          if !configuration.fetch then "fetch is set to false"
          elsif foreign_fetcher then "#{class_name(foreign_fetcher)} fetches the jobs"
          elsif changed?(Sidekiq::BasicFetch, "fetch.rb", %i[initialize retrieve_work queues_cmd])
            "another gem changes how Sidekiq fetches"
          elsif EngineSettings.second_redis?(configuration)
            "redis_options names another Redis than the one with the queues"
          end
        end

        def ours?(fetcher)
          fetcher.equal?(@ours) || fetcher.is_a?(Fetcher)
        end

        # What has methods of its own is another fetcher.
        def stock?(fetcher)
          fetcher == Sidekiq::BasicFetch ||
            (fetcher.instance_of?(Sidekiq::BasicFetch) && fetcher.singleton_methods.empty?)
        end

        # @return [String, nil] who moves due jobs into their queues, if that is not Sidekiq itself
        def foreign_scheduler
          scheduler = Compat::SIDEKIQ.options[:scheduled_enq]
          return class_name(scheduler) if scheduler && scheduler != DueJobs

          stock = Sidekiq::Scheduled::Enq
          "a changed #{stock.name}" if changed?(stock, "scheduled.rb", %i[enqueue_jobs])
        end

        # Gems that pause or throttle queues, or watch what is due, prepend to these, or define them anew.
        def changed?(klass, file, methods)
          methods.any? do |name|
            method = klass.instance_method(name)
            method.owner != klass || !method.source_location&.first&.end_with?("/sidekiq/#{file}")
          end
        end

        def class_name(fetcher)
          fetcher.is_a?(Module) ? fetcher.name : fetcher.class.name
        end
      end
    end
  end
end
