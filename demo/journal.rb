# frozen_string_literal: true

require "json"

# A list in Redis to which the jobs append and which the demo reads.
module Journal
  module_function

  def key
    Sidekiq::AssuredJobs.namespaced_key("journal")
  end

  # @param event [String] "started" or "finished"
  # @param payload [Hash] parsed
  # @return [void]
  def write(event, payload)
    entry = {
      event:, jid: payload["jid"], instance: Sidekiq::AssuredJobs.instance_id, at: Time.now.to_f,
      recoveries: payload["assured_recoveries"].to_i, enqueued_at: payload["enqueued_at"]
    }
    Sidekiq.redis { |redis| redis.rpush(key, JSON.generate(entry)) }
  end

  # @param from [Integer] how many entries are known already
  # @return [Array<Hash{Symbol => Object}>]
  def read(redis, from)
    redis.lrange(key, from, -1).map { |entry| JSON.parse(entry, symbolize_names: true) }
  end
end
