# frozen_string_literal: true

require "sidekiq"

# What specs and their applications say differently to each generation of Sidekiq.
module AnySidekiq
  SEVEN = Sidekiq.respond_to?(:default_configuration)

  module_function

  # @return [#[], #[]=] Sidekiq's options
  def options
    return Sidekiq.default_configuration if SEVEN

    Sidekiq.respond_to?(:[]) ? Sidekiq : Sidekiq.options
  end

  # @param options [Hash]
  # @return [void]
  def redis=(options)
    config = SEVEN ? Sidekiq.default_configuration : Sidekiq
    # Sidekiq 7 adds the options to those that it has, and keeps its first pool for good.
    config.instance_variable_set(:@redis_config, {}) if SEVEN
    config.redis = options
    config.instance_variable_set(:@redis, nil) if SEVEN
  end

  # @return [Sidekiq::Middleware::Chain]
  def server_middleware
    SEVEN ? Sidekiq.default_configuration.server_middleware : Sidekiq.server_middleware
  end

  # @param names [Array<String>] a weight is a repetition
  # @param strict [Boolean]
  # @return [Hash, Module, Sidekiq::Capsule] what a fetcher is made with
  def queues(names, strict:)
    return capsule(names, strict) if SEVEN
    return { queues: names, strict: } if options.is_a?(Hash)

    options[:queues] = names
    options[:strict] = strict
    options
  end

  # @api private
  def capsule(names, strict)
    Sidekiq::Capsule.new("spec", Sidekiq.default_configuration).tap do |capsule|
      capsule.queues = strict ? names : names.tally.map { |name, weight| "#{name},#{weight}" }
    end
  end

  # @param fetcher [Class]
  # @return [void]
  def fetch_with(fetcher)
    return options[:fetch_class] = fetcher if SEVEN

    stock = Sidekiq::BasicFetch.respond_to?(:bulk_requeue)
    options[:fetch] = stock ? fetcher : fetcher.new(queues(["default"], strict: false))
  end

  # @return [String] class that fetches the jobs
  def fetcher_name
    return (options[:fetch_class] || Sidekiq::BasicFetch).name if SEVEN

    (options[:fetch] || Sidekiq::BasicFetch).then { |fetcher| (fetcher.is_a?(Class) ? fetcher : fetcher.class).name }
  end

  # @param scheduler [Class]
  # @return [Sidekiq::Scheduled::Enq] what moves due jobs into their queues
  def scheduler(scheduler = options[:scheduled_enq] || Sidekiq::Scheduled::Enq)
    SEVEN ? scheduler.new(Sidekiq.default_configuration) : scheduler.new
  end
end

# Sidekiq 6.4 uses `sadd` in a way that redis-rb 4.8 warns about, at every push.
Redis.sadd_returns_boolean = false if defined?(Redis) && Redis.respond_to?(:sadd_returns_boolean=)
