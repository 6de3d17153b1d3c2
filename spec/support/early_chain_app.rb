# frozen_string_literal: true

# The same application, loaded after a capsule has copied its chain of middleware.

require "sidekiq"

Sidekiq.configure_server { |config| config.default_capsule.server_middleware }

require_relative "app"
