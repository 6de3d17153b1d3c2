# frozen_string_literal: true

# The same application, whose Redis is described by a Hash.

require "json"
require_relative "app"

Sidekiq.configure_server do |config|
  redis = JSON.parse(ENV.fetch("SPEC_REDIS"), symbolize_names: true)
  config.redis = redis
end
