# frozen_string_literal: true

# An application with server middleware outside ours, as other gems bring it.

require_relative "killing_job"

# Runs each job in a thread of its own, as libraries for timeouts and tracing do.
class InThread
  def call(*, &)
    Thread.new(&).value
  end
end

# Says that a job has come, and takes its time before it lets it pass.
class Hesitates
  def call(_worker, job, _queue)
    Sidekiq.redis { |redis| redis.rpush("middleware:saw", job["jid"]) }
    sleep ENV.fetch("SPEC_HESITATION").to_f
    yield
  end
end

class LimitedKillingJob < KillingJob
  sidekiq_options assured_max_recoveries: 1
end

Sidekiq.configure_server do |config|
  config.server_middleware do |chain|
    chain.prepend(Object.const_get(ENV["SPEC_OUTSIDE"])) if ENV["SPEC_OUTSIDE"]
  end
end
