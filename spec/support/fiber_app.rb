# frozen_string_literal: true

# An application whose middleware runs each job in a fiber of its own, as libraries for fibers do.

require_relative "app"

class InFiber
  def call(*, &)
    Fiber.new(&).resume
  end
end

Sidekiq.configure_server { |config| config.server_middleware { |chain| chain.prepend(InFiber) } }
