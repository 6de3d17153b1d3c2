# frozen_string_literal: true

# The same application, whose Redis is described by a Hash, and whose password for `redis_options` is in a file.

require "json"
require_relative "app"

if ENV["SPEC_REDIS"]
  Sidekiq.configure_server { |config| config.redis = JSON.parse(ENV["SPEC_REDIS"], symbolize_names: true) }
end

if ENV["SPEC_PASSWORD_FILE"]
  Sidekiq::AssuredJobs.configure do |config|
    password = lambda { |user|
      File.write("#{ENV["SPEC_PASSWORD_FILE"]}.asked", "#{user}\n", mode: "a")
      File.read(ENV["SPEC_PASSWORD_FILE"])
    }
    config.redis_options = { url: ENV.fetch("SPEC_TRACKING_URL"), username: "app", password: }
  end
end

# Writes into a file that it ran: a failover may lose what was written to Redis last.
class FailoverJob
  include Sidekiq::Job
  include Sidekiq::AssuredJobs::Worker

  def perform(path, number, seconds)
    sleep seconds
    File.open(path, "a") { |file| file.write("#{number}\n") }
  end
end
