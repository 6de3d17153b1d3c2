# frozen_string_literal: true

module Sidekiq
  module AssuredJobs
    VERSION = "2.0.0"
  end
end
