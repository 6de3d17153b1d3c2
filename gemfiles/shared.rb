# frozen_string_literal: true

# What the specs need beside one particular Sidekiq. RuboCop is in the main Gemfile alone.

source "https://rubygems.org"

gemspec path: ".."

# For the specs that run ActiveJob.
gem "activejob"
gem "rake"
gem "rspec", "~> 3.12"
