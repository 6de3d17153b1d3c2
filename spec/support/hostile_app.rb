# frozen_string_literal: true

# Jobs and handlers that raise what would forge log lines. The gem's lines go into a file of their own, as JSON.

require "json"
require "logger"
require_relative "app"

HOSTILE = ENV.fetch("SPEC_HOSTILE")

class HostileJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker

  sidekiq_retries_exhausted { raise HOSTILE }

  def perform
    Sidekiq.redis { |redis| redis.incr("journal:hostile") }
    sleep 0.05 until lease_lost?
    raise HOSTILE
  end
end

Sidekiq.configure_server do
  Sidekiq::AssuredJobs.configure do |config|
    config.logger = Logger.new(ENV.fetch("SPEC_LINES"))
    config.logger.formatter = lambda do |severity, _, _, message|
      "#{JSON.generate(severity:, message:, class: message.class.name)}\n"
    end
    config.on(:recovered) { raise HOSTILE }
  end
end
