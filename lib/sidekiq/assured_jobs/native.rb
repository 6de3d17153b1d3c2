# frozen_string_literal: true

require_relative "errors"

begin
  # Precompiled gems carry one library for each Ruby version.
  require "sidekiq_assured_jobs/#{RUBY_VERSION[/\d+\.\d+/]}/sidekiq_assured_jobs"
rescue LoadError
  require "sidekiq_assured_jobs/sidekiq_assured_jobs"
end
