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
