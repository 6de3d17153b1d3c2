# frozen_string_literal: true

# Jobs for the specs of fetching. An application without the gem has them, too, to compare with.

# Named in full: two threads that look SHA256 up at once may meet it half loaded.
require "digest/sha2"
require "json"
require "sidekiq"
require_relative "any_sidekiq"

# Writes down what it was given.
class EchoJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker if defined?(Sidekiq::AssuredJobs::Worker)

  def perform(*args)
    digest = Digest::SHA256.hexdigest(JSON.generate(args))
    Sidekiq.redis { |redis| redis.rpush("journal:echo", "#{jid.inspect} #{digest}") }
  end
end

# Writes down in which order jobs start.
class OrderJob
  include Sidekiq::Worker

  def perform(key)
    Sidekiq.redis { |redis| redis.rpush("journal:order", key) }
  end
end

# Writes down when it starts.
class StampJob
  include Sidekiq::Worker

  def perform(key)
    now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    Sidekiq.redis { |redis| redis.hset("journal:stamps", key, now) }
  end
end

# Needs no Redis.
class FileJob
  include Sidekiq::Worker

  def perform(path, text)
    File.open(path, "a") { |file| file.write("#{text}\n") }
  end
end
