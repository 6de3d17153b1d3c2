# frozen_string_literal: true

require_relative "compat"
require_relative "fetcher"

module Sidekiq
  module AssuredJobs
    # Tells Sidekiq's own fetcher, ours and others' apart.
    module Fetchers
      class << self
        # @return [Array<Object>] fetchers, or classes of them, that somebody else has set, or put around ours
        def foreign
          Compat::SIDEKIQ.fetchers.reject { |fetcher| plain?(fetcher) || stock?(fetcher) }
        end

        # @param fetcher [Object]
        # @return [Boolean] whether it is ours, as it came
        def plain?(fetcher)
          return unchanged?(fetcher.instance_method(:retrieve_work)) if fetcher == Fetcher
          return true if fetcher.is_a?(Compat::Sidekiq60::Shared)

          ours?(fetcher) && unchanged?(fetcher.method(:retrieve_work))
        end

        # What has methods of its own is another fetcher.
        #
        # @param fetcher [Object]
        # @return [Boolean] whether it is Sidekiq's own
        def stock?(fetcher)
          fetcher == Sidekiq::BasicFetch ||
            (fetcher.instance_of?(Sidekiq::BasicFetch) && fetcher.singleton_methods.empty?)
        end

        # @return [Boolean] whether another gem has changed Sidekiq's own fetcher
        def stock_changed?
          changed?(Sidekiq::BasicFetch, "fetch.rb", %i[initialize retrieve_work queues_cmd])
        end

        # @param fetcher [Object]
        # @return [Boolean] whether it is ours in other clothes, or has ours at hand
        def holds_ours?(fetcher)
          ours?(fetcher) || fetcher.instance_variables.any? { |name| ours?(fetcher.instance_variable_get(name)) }
        end

        # Gems that pause or throttle queues, or watch what is due, prepend to these, or define them anew.
        #
        # @param klass [Class] of Sidekiq
        # @param file [String] where Sidekiq defines it
        # @param methods [Array<Symbol>]
        # @return [Boolean]
        def changed?(klass, file, methods)
          methods.any? do |name|
            method = klass.instance_method(name)
            method.owner != klass || !method.source_location&.first&.end_with?("/sidekiq/#{file}")
          end
        end

        # @param object [Object] an instance, a class or a module
        # @return [String] what the log calls it: of one of ours that was changed, who did it
        def name_of(object)
          return object.name || object.inspect if object.is_a?(Module)
          return "a changed #{Sidekiq::Processor.name}" if object.is_a?(Sidekiq::Processor)

          name_of(ours?(object) ? object.method(:retrieve_work).owner : object.class)
        end

        private

        def ours?(fetcher)
          fetcher.is_a?(Fetcher)
        end

        def unchanged?(method)
          method.owner == Fetcher
        end
      end
    end
  end
end
