# frozen_string_literal: true

# An application that configures the gem again and again, and counts the hooks that result.

require_relative "app"

5.times { Sidekiq::AssuredJobs.configure { |config| config.recovery_lock_ttl = 60 } }

Sidekiq.configure_server do |config|
  config.on(:startup) do
    hooks = {
      middleware: config.server_middleware.count { |entry| entry.klass == Sidekiq::AssuredJobs::Middleware },
      # The others are this handler, and the one that ours appends.
      startup: AnySidekiq.options[:lifecycle_events][:startup].size - 2
    }
    Sidekiq.redis { |redis| redis.set("hooks", JSON.generate(hooks)) }
  end
end
