# frozen_string_literal: true

# A job that Sidekiq may interrupt between two of its steps, and goes on with later.

require_relative "app"

class IterableJob
  include Sidekiq::IterableJob
  include Sidekiq::AssuredJobs::Worker

  def build_enumerator(steps, _seconds, cursor:)
    array_enumerator((0...steps).to_a, cursor:)
  end

  def each_iteration(step, _steps, seconds)
    Journal.start(step)
    sleep seconds
    Journal.finish(step)
  end
end

# Kills its process once an interrupted job is queued again, and still recorded.
class DeathAfterPush
  def call(*)
    yield
  rescue Sidekiq::JobRetry::Skip
    Process.kill(:KILL, Process.pid)
    sleep
  end
end

if ENV["SPEC_DEATH_AFTER_PUSH"]
  Sidekiq.configure_server { |config| config.server_middleware { |chain| chain.prepend(DeathAfterPush) } }
end
