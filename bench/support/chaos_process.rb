# frozen_string_literal: true

require_relative "../../spec/support/sidekiq_process"
require_relative "chaos_journal"
require_relative "chaos_supply"

# A Sidekiq process of a chaos run.
class ChaosProcess
  APP = File.expand_path("chaos_app.rb", __dir__)
  THREADS = 10
  ENVIRONMENT = { "ASSURED_JOBS_HEARTBEAT_INTERVAL" => "0.5", "ASSURED_JOBS_HEARTBEAT_TTL" => "2" }.freeze

  # @param load_path [Array<String>]
  # @param require [Array<String>]
  # @return [Hash{String => String}] what tells a process of other gems
  def self.gems(load_path: [], require: [])
    { "CHAOS_LOAD_PATH" => load_path.join(":"), "CHAOS_REQUIRE" => require.join(",") }
  end

  # @param name [String] its name in the journal, and its instance id
  # @param server [RedisServer]
  # @param env [Hash{String => String}]
  def initialize(name, server, env)
    @name = name
    @redis = Redis.new(url: server.url)
    journal_url = server.url(ChaosJournal::DB)
    @journal = ChaosJournal.new(journal_url)
    own = { "CHAOS_PROCESS" => name, "CHAOS_JOURNAL" => journal_url, "ASSURED_JOBS_INSTANCE_ID" => name }
    @process = SidekiqProcess.new(server.url, env: ENVIRONMENT.merge(env, own), args: ["-c", THREADS.to_s], app: APP)
  end

  # @return [void]
  def wait_until_working
    Wait.wait_until("#{@name} works", within: 60) do
      raise "sidekiq ended:\n#{@process.log}" unless @process.alive?

      @journal.working?(@name)
    end
  end

  # @return [String] what the log says of the way in
  def told
    @process.log.scan(/AssuredJobs: (.*tracked by.*)/).join(", then: ")
  end

  # @return [void]
  def kill
    @process.kill
  end

  # @return [Boolean] whether it lives and runs no job
  def idle?
    raise "sidekiq ended:\n#{@process.log}" unless @process.alive?

    @journal.running(@name).empty?
  end

  # @return [Array<Integer>] jobs that it had started and not ended, or held in flight
  def in_hand
    @journal.running(@name) | @redis.smembers("sidekiq_assured_jobs:jobs:#{@name}").map { |name| ChaosSupply.id(name) }
  end

  # @return [void]
  def close
    kill
    @redis.close
    @journal.close
  end
end
