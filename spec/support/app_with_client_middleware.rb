# frozen_string_literal: true

# The same jobs in an application with client middleware, so that orphans are pushed through Ruby.

require_relative "app"

class Gatekeeper
  def call(_job_class, job, _queue, _pool)
    Sidekiq.redis { |redis| redis.rpush("middleware:saw", job["jid"]) }
    sleep ENV.fetch("SPEC_MIDDLEWARE_SECONDS", "0").to_f
    case job["args"].first
    when "refuse" then false
    when "raise" then raise "the middleware is out of order"
    when "raise no StandardError" then raise NotImplementedError, "the middleware is not finished"
    else yield
    end
  end
end

Sidekiq.configure_server { |config| config.client_middleware { |chain| chain.add Gatekeeper } }

require_relative "fetch_app" if ENV.key?("SPEC_FETCH")
