# frozen_string_literal: true

# An application whose jobs have unique locks, with what we rely on of the sidekiq-unique-jobs gem in its place.

require_relative "app"
require_relative "unique_contract"

module SidekiqUniqueJobs
  Locksmith = UniqueContract::Locksmith
end

Sidekiq.configure_server do |config|
  config.client_middleware { |chain| chain.add UniqueContract::Client }
end

# Goes on whatever Sidekiq asks of it, as a long native call does.
class StubbornJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker

  # @param key [Object] under which the run is written down
  # @param ending [String] how it goes on: "stays", "ends", or "crashes" with its process
  def perform(key, ending)
    Journal.start(key)
    sleep
  rescue Sidekiq::Shutdown
    sleep if ending == "stays"
    Process.kill(:KILL, Process.pid) && sleep if ending == "crashes"
    Journal.finish(key)
  end
end
