# frozen_string_literal: true

# What we rely on of the sidekiq-unique-jobs gem since version 7, in its place: names of classes and keys, and who holds
# a lock. A lock is a hash with a field for each jid.
module UniqueContract
  # The keys of a lock.
  Key = Struct.new(:digest) do
    %w[queued primed locked].each { |part| define_method(part) { "#{digest}:#{part.upcase}" } }
  end

  # One job's hold of one lock.
  class Locksmith
    attr_reader :key, :job_id

    def initialize(item)
      raise "would wait for the lock" unless item["lock_timeout"].to_i.zero?

      @key = Key.new(item.fetch("lock_digest"))
      @job_id = item["jid"]
    end

    def locked?
      # redis-rb says true, redis-client 1.
      [true, 1].include?(Sidekiq.redis { |redis| redis.hexists(key.locked, job_id) })
    end

    # What was written of it when its process was killed is in the way of the same jid.
    def lock(*)
      Sidekiq.redis do |redis|
        free = redis.hlen(key.locked).zero? && redis.lrange(key.primed, 0, -1).empty? && !redis.get(key.digest)
        job_id if free && redis.hset(key.locked, job_id, 1)
      end
    end

    def unlock(*)
      locked? && Sidekiq.redis { |redis| redis.hdel(key.locked, job_id) } && job_id
    end
  end

  # Settings of a job's lock.
  LockConfig = Struct.new(:job) do
    def on_server_conflict
      answer = job["on_server_conflict"] || job["on_conflict"]
      answer.is_a?(Hash) ? answer["server"] : answer
    end
  end

  # Kinds of locks.
  module Lock
    UntilExecuted = Class.new
    UntilExpired = Class.new(UntilExecuted)
    UntilExecuting = Class.new
    UntilAndWhileExecuting = Class.new
    WhileExecuting = Class.new
    WhileExecutingReject = Class.new(WhileExecuting)
  end

  def self.locks
    Lock.constants.to_h { |name| [name.to_s.scan(/[A-Z][a-z]+/).join("_").downcase.to_sym, Lock.const_get(name)] }
  end
end
