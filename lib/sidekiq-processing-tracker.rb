# frozen_string_literal: true

# The name under which this gem began.

require_relative "sidekiq/assured_jobs"

module Sidekiq
  ProcessingTracker = AssuredJobs
end
