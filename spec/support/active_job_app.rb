# frozen_string_literal: true

# An application whose jobs are ActiveJob's, run by Sidekiq.

require "active_job"
require_relative "app"

# As Sidekiq does it inside Rails.
ActiveJob::Base.include(Sidekiq::Worker::Options) if ENV["SPEC_OPTIONS"]
ActiveJob::Base.queue_adapter = :sidekiq
ActiveJob::Base.logger = Sidekiq.logger

# The runs of a job are written down under its key.
module Holding
  def hold(key)
    Journal.start(key)
    sleep 0.02 while Sidekiq.redis { |redis| redis.get("hold") }
  end
end

class ApplicationJob < ActiveJob::Base
  include Sidekiq::AssuredJobs::Worker
  include Holding
end

class InheritingJob < ApplicationJob
  def perform(key, _options = {})
    hold(key)
    Journal.finish(key)
  end
end

class DirectJob < ActiveJob::Base
  include Sidekiq::AssuredJobs::Worker
  include Holding

  def perform(key)
    hold(key)
    Journal.finish(key)
  end
end

class UnassuredJob < ActiveJob::Base
  include Holding

  def perform(key)
    hold(key)
    Journal.finish(key)
  end
end

class RetriedJob < ApplicationJob
  retry_on ArgumentError, wait: 0, attempts: 3

  def perform(key)
    hold(key)
    raise ArgumentError, "as it should" if executions < 3

    Journal.finish(key)
  end
end

class DiscardedJob < ApplicationJob
  discard_on(ArgumentError) { |job| Journal.write("discarded", job.arguments.first) }

  def perform(key)
    hold(key)
    raise ArgumentError, "as it should"
  end
end
