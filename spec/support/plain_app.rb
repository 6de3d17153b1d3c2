# frozen_string_literal: true

# An application without the gem.

require_relative "fetch_jobs"

Sidekiq.configure_server { |config| config.redis = { url: ENV.fetch("REDIS_URL") } }
