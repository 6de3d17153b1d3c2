# frozen_string_literal: true

# Another application on the same Redis. It knows none of the job classes that others push, and its middleware asks
# for them.

require "sidekiq"
require "sidekiq-assured-jobs"

class AsksForTheClass
  def call(job_class, *)
    Object.const_get(job_class.to_s)
    yield
  end
end

Sidekiq.configure_client { |config| config.redis = { url: ENV.fetch("REDIS_URL") } }
Sidekiq.configure_server do |config|
  config.redis = { url: ENV.fetch("REDIS_URL") }
  config.client_middleware { |chain| chain.add AsksForTheClass }
  config.death_handlers << ->(job, _error) { Sidekiq.redis { |redis| redis.rpush("told:elsewhere", job["jid"]) } }
end
