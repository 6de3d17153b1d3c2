# frozen_string_literal: true

require "redis"
require_relative "redis_server"
require_relative "sidekiq_process"
require_relative "wait"

# One Redis for the whole run, emptied before each example; processes that end with their example.
module ServerHelpers
  # Short enough for a test run, long enough for a busy machine.
  QUICK = {
    "ASSURED_JOBS_HEARTBEAT_INTERVAL" => "0.5",
    "ASSURED_JOBS_HEARTBEAT_TTL" => "2"
  }.freeze

  include Wait

  def self.redis_server
    @redis_server ||= RedisServer.new.tap { |server| at_exit { server.remove } }
  end

  def redis_server
    ServerHelpers.redis_server
  end

  def redis
    @redis ||= Redis.new(url: redis_server.url)
  end

  # @return [SidekiqProcess] not yet ready
  def spawn_sidekiq(env: {}, args: ["-c", "5"], url: redis_server.url, **options)
    SidekiqProcess.new(url, env: QUICK.merge(env), args:, **options).tap { |process| processes << process }
  end

  # @return [SidekiqProcess]
  def start_sidekiq(...)
    spawn_sidekiq(...).wait_until_ready
  end

  # Runs a Ruby script with the gem on its load path, to its end.
  #
  # @return [String] what it printed, errors included
  def run_ruby(script, url: redis_server.url)
    IO.popen(
      [{ "REDIS_URL" => url, "RUBYOPT" => nil }, RbConfig.ruby, "-I#{SidekiqProcess::ROOT}/lib", "-rbundler/setup",
       "-e", script],
      chdir: SidekiqProcess::ROOT, err: %i[child out], &:read
    )
  end

  def processes
    @processes ||= []
  end

  # Pushes without loading the job class, as any client may.
  #
  # @return [String] jid
  def push(job_class, *args, **options)
    item = { "class" => job_class, "args" => args, "queue" => "default", "retry" => true }
    item["assured_jobs"] = true unless job_class == "PlainJob"
    Sidekiq::Client.push(item.merge(options.transform_keys(&:to_s)))
  end

  def started
    redis.hgetall("journal:started").transform_values(&:to_i)
  end

  def finished
    redis.hgetall("journal:finished").transform_values(&:to_i)
  end

  # @return [Array<String>] jobs that started more often than once
  def ran_twice
    started.select { |_, times| times > 1 }.keys
  end

  def key(name)
    "sidekiq_assured_jobs:#{name}"
  end

  # Writes down what a killed process of the 1.x gem leaves: a set and strings, and no registry entry.
  #
  # @param instance [String]
  # @param payloads [Hash{String => String}] by record name
  def seed_orphans(instance, payloads)
    redis.pipelined do |pipeline|
      pipeline.sadd(key("jobs:#{instance}"), payloads.keys)
      payloads.each { |name, payload| pipeline.set(key("job:#{name}"), payload) }
    end
  end

  # @return [Hash{String => String}] payloads by jid
  def payloads(jids, job_class: "AssuredJob", queue: "default", args: ->(jid) { [jid, 0] })
    jids.to_h do |jid|
      job = { "class" => job_class, "args" => args.call(jid), "queue" => queue, "jid" => jid, "retry" => true,
              "assured_jobs" => true, "created_at" => 1_700_000_000.25, "enqueued_at" => 1_700_000_000.5 }
      [jid, JSON.generate(job)]
    end
  end

  # @return [Array<Hash>] the jobs in a queue, next one first
  def queued(queue = "default")
    redis.lrange("queue:#{queue}", 0, -1).reverse.map { |payload| JSON.parse(payload) }
  end

  # @return [Array<String>] ids of the instances that are registered
  def registered
    redis.hkeys(key("instances"))
  end

  # @return [Array<String>] in-flight record names of all instances
  def in_flight
    redis.scan_each(match: key("jobs:*")).flat_map { |jobs| redis.smembers(jobs) }
  end

  # @return [Integer] how often Sidekiq's own fetcher was at work in this example
  def stock_fetches
    redis.info(:commandstats).dig("brpop", "calls").to_i
  end

  # Keys that no clean exit may leave.
  def own_keys
    redis.scan_each(match: key("*")).to_a - [key("epoch"), key("assured_classes")]
  end

  def self.included(base)
    base.before do
      redis.flushall
      redis.config(:resetstat)
      AnySidekiq.redis = { url: redis_server.url }
    end
    base.after do
      processes.each(&:kill)
      redis.close
    end
  end
end
