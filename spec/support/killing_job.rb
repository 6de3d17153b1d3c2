# frozen_string_literal: true

require_relative "app"

# Kills its process.
class KillingJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker

  def perform(key)
    Journal.start(key)
    Process.kill(:KILL, Process.pid)
    sleep
  end
end
