# frozen_string_literal: true

require_relative "sidekiq/assured_jobs"
