# frozen_string_literal: true

require "redis"
require_relative "redis_server"

# For examples that do to Redis what no other example may notice. They set `server` anew where it needs options.
RSpec.shared_context "with a Redis of its own" do
  let(:server) { RedisServer.new }
  let(:redis) { Redis.new(url: server.url) }

  before { AnySidekiq.redis = { url: server.url } }

  after do
    processes.each(&:kill)
    server.remove
  end

  def restart
    server.stop
    server.start
  end
end
