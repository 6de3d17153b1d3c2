# frozen_string_literal: true

# The same application with two capsules: two threads for the queue "default", two for the queue "second".

require_relative "app"

Sidekiq.configure_server do |config|
  config.concurrency = 2
  config.capsule("second") do |capsule|
    capsule.concurrency = 2
    capsule.queues = ["second"]
  end
end
