# frozen_string_literal: true

# What jobs write down, in Redis.
module Journal
  module_function

  def start(key)
    write("started", key)
  end

  def finish(key)
    write("finished", key)
  end

  def write(what, key)
    Sidekiq.redis { |redis| redis.hincrby("journal:#{what}", key.to_s, 1) }
  end
end
