# frozen_string_literal: true

# The same application with a process of its own beside it, as gems fork one that answers health checks.

require_relative "app"

class ForkingJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker

  def perform(key)
    child = fork { sleep }
    Sidekiq.redis { |redis| redis.set("child", child) }
    Journal.start(key)
    sleep
  end
end
