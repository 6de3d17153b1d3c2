# frozen_string_literal: true

# Fetchers inside the process of the spec, and processes with the jobs of `fetch_jobs.rb`.
module FetchHelpers
  APP = File.expand_path("fetch_app.rb", __dir__)
  PLAIN_APP = File.expand_path("plain_app.rb", __dir__)

  # @return [Sidekiq::AssuredJobs::Native::Engine]
  def engine
    @engine ||= begin
      config = Sidekiq::AssuredJobs::Configuration.new(environment: {})
      engine = Sidekiq::AssuredJobs::Native::Engine.start(Sidekiq::AssuredJobs::EngineSettings.of(config))
      engine.tap { |started| started.instance_id(5) }
    end
  end

  # @param queues [Array<String>] a weight is a repetition
  # @return [Sidekiq::AssuredJobs::Fetcher]
  def fetcher(queues, strict: false)
    Sidekiq::AssuredJobs::Fetcher.new(AnySidekiq.queues(queues, strict:), engine)
  end

  # @param threads [Integer] how many fetch at once
  # @yieldparam unit [Sidekiq::BasicFetch::UnitOfWork]
  # @return [Array] what the block returned, for `count` units of work
  def fetch_many(fetch, count, threads: 10, &block)
    left = Queue.new
    count.times { left << true }
    left.close
    Array.new(threads) { Thread.new { fetch_while(left, fetch, &block) } }.flat_map(&:value)
  end

  # @return [SidekiqProcess] with the jobs of `fetch_app.rb`
  def start_app(**options)
    start_sidekiq(app: APP, **options)
  end

  # Pushes payloads as they are.
  def push_raw(*payloads, queue: "default", to: redis)
    payloads.each { |payload| to.lpush("queue:#{queue}", payload) }
  end

  # @return [Array<String>] payloads in a queue, next one first
  def raw_queue(queue = "default")
    redis.lrange("queue:#{queue}", 0, -1).reverse
  end

  def self.included(base)
    base.after { @engine&.stop(1) }
  end

  private

  def fetch_while(left, fetch)
    results = []
    results << yield(fetch.retrieve_work) while left.pop
    results
  end
end

RSpec.configure { |config| config.include FetchHelpers, :fetch }
