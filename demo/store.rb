# frozen_string_literal: true

require "redis"
require "socket"
require_relative "../spec/support/redis_server"

# The Redis of the demo.
module Store
  # @param url [String, nil] of the Redis to use; without it a private one is started
  # @return [Private, Shared]
  def self.open(url)
    url.to_s.empty? ? Private.new : Shared.new(url)
  end

  # One that ends with the demo.
  class Private
    def initialize
      @server = RedisServer.new
    end

    def url
      @server.url
    end

    def clean_up(_scene)
      @server.remove
    end
  end

  # Somebody's. What the demo wrote there is known by name, and is all that it removes.
  class Shared
    attr_reader :url

    def initialize(url)
      @url = url
      connect(&:ping)
    end

    # @param scene [Scene, nil]
    # @return [void]
    def clean_up(scene)
      return unless scene

      queue = ENV.fetch("ASSURED_JOBS_NS")
      connect do |redis|
        redis.srem("queues", queue)
        redis.del("queue:#{queue}", *tracking_keys(scene))
        scene.instances.each { |instance| remove_process(redis, instance.pid) }
      end
    end

    private

    def tracking_keys(scene)
      names = %w[instances recovery_lock journal]
      names += %w[instance jobs verdict].product(scene.instances.map(&:name)).map { |pair| pair.join(":") }
      names += scene.jobs.map { |job| "job:#{job.jid}" }
      names.map { |name| Sidekiq::AssuredJobs.namespaced_key(name) }
    end

    # Sidekiq's own list of processes, in which a killed one would stay for a minute.
    def remove_process(redis, pid)
      redis.smembers("processes").grep(/\A#{Regexp.escape(Socket.gethostname)}:#{pid}:/).each do |identity|
        redis.srem("processes", [identity])
        redis.del(identity, "#{identity}:workers", "#{identity}:work")
      end
    end

    def connect
      redis = Redis.new(url:, reconnect_attempts: 0)
      yield redis
    ensure
      redis&.close
    end
  end
end
