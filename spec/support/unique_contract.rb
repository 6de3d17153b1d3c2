# frozen_string_literal: true

# What we rely on of the sidekiq-unique-jobs gem, by its documentation: names of keys in payloads and in Redis, which
# job passes a lock, what happens to one that does not, and the one method that we call.
module UniqueContract
  # A lock is a hash with a field for each jid that holds it.
  module Holding
    def digest(job)
      key = job.key?("lock_digest") ? "lock_digest" : "unique_digest"
      "#{job.fetch(key)}:#{key == "lock_digest" ? "LOCKED" : "GRABBED"}"
    end

    def held?(job)
      # redis-rb says true, redis-client 1.
      [true, 1].include?(Sidekiq.redis { |redis| redis.hexists(digest(job), job["jid"]) })
    end
  end

  # Stands in for `SidekiqUniqueJobs::Locksmith`.
  class Locksmith
    include Holding

    def initialize(job)
      @job = job
    end

    def unlock
      return false unless held?(@job)

      Sidekiq.redis { |redis| redis.hdel(digest(@job), @job["jid"]) }
      @job["jid"]
    end
  end

  # Stands in for that gem's client middleware.
  class Client
    include Holding

    def call(_job_class, job, _queue, _pool)
      Sidekiq.redis { |redis| redis.rpush("contract:saw", job["jid"]) }
      return yield if held?(job) || take(job)

      raise "would wait for the lock" unless job.fetch("lock_timeout", 0)&.zero?

      resolve(job)
      nil
    end

    private

    def take(job)
      Sidekiq.redis do |redis|
        redis.hlen(digest(job)) < job.fetch("lock_limit", 1) && redis.hset(digest(job), job["jid"], 1)
      end
    end

    def resolve(job)
      answer = job["on_client_conflict"] || job["on_conflict"]
      answer = answer["client"] if answer.is_a?(Hash)
      Sidekiq.redis { |redis| redis.rpush("contract:resolved", answer) } if answer
    end
  end
end
