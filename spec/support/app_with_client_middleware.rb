# frozen_string_literal: true

# The same jobs in an application with client middleware that takes, refuses, raises, or takes its time.

require_relative "app"

class Gatekeeper
  def call(_job_class, job, _queue, _pool)
    Sidekiq.redis { |redis| redis.rpush("middleware:saw", job["jid"]) }
    sleep ENV.fetch("SPEC_MIDDLEWARE_SECONDS", "0").to_f
    case job["args"].first
    when "take" then taken?(job) ? false : yield
    when "refuse" then false
    when "raise" then raise "the middleware is out of order"
    when "raise no StandardError" then raise NotImplementedError, "the middleware is not finished"
    else yield
    end
  end

  private

  # Puts jobs aside and lets them go later, as batching and debouncing gems do. The mark of what is let go does not
  # stay in the payload.
  def taken?(job)
    return false if job.delete("let_go") || job["failed_at"]

    Sidekiq.redis { |redis| redis.rpush("aside", JSON.generate(job["args"])) }
    true
  end
end

Sidekiq.configure_server do |config|
  config.on(:startup) do
    Thread.new do
      loop do
        sleep 0.3
        while (args = Sidekiq.redis { |redis| redis.lpop("aside") })
          Sidekiq::Client.push("class" => "AssuredJob", "args" => JSON.parse(args), "let_go" => true)
        end
      end
    end
  end
end

Sidekiq.configure_server { |config| config.client_middleware { |chain| chain.add Gatekeeper } }

require_relative "fetch_app" if ENV.key?("SPEC_FETCH")
