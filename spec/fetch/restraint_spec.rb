# frozen_string_literal: true

require "tempfile"
require_relative "../support/fetch_helpers"
require_relative "../support/own_redis"

# What Redis is asked while nobody pushes: never more than by Sidekiq alone, but for a few.
RSpec.describe "The restraint of an idle process", :fetch do
  include_context "with a Redis of its own"

  let(:seconds) { 8 }
  let(:more) { 5 * seconds }

  # Commands, those within scripts included, and connections, those included that were refused.
  def asked
    stats = redis.info("commandstats")
    connections = redis.info("stats").values_at("total_connections_received", "rejected_connections")
    stats.sum { |_, one| one["calls"].to_i } + connections.sum(&:to_i)
  end

  def asked_within(seconds)
    before = asked
    sleep seconds
    # But for this question itself.
    asked - before - 2
  end

  def queues(count)
    Array.new(count) { |n| ["-q", "q#{n}"] }.flatten
  end

  # @return [Array<Integer>] what it asks by itself, and with the gem
  def compare(args, env: {})
    plain = spawn_sidekiq(app: FetchHelpers::PLAIN_APP, url: server.url, args:)
    wait_until("it fetches") { stock_fetches.positive? }
    by_itself = asked_within(seconds)
    plain.kill
    start_app(url: server.url, args:, env: { **slow, **env })
    yield if block_given?
    # What a process asks at its start.
    wait_until("it is idle") { asked_within(1) < 50 }
    [by_itself, asked_within(seconds)]
  end

  # The heartbeat's own commands are known, and not what this is about.
  def slow
    { "ASSURED_JOBS_HEARTBEAT_INTERVAL" => "60", "ASSURED_JOBS_HEARTBEAT_TTL" => "180" }
  end

  def watches
    redis.client(:list).select { |client| client["name"].end_with?("assured-jobs:watch") }
  end

  # Neither the push nor the job opens a connection.
  def seconds_until_started(queue)
    file = Tempfile.new("started")
    job = { "class" => "AssuredFileJob", "args" => [file.path, "x"], "jid" => "j", "assured_jobs" => true }
    pushed = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    push_raw(JSON.generate(job), queue:)
    wait_until("it has started") { File.size(file.path).positive? }
    Process.clock_gettime(Process::CLOCK_MONOTONIC) - pushed
  end

  [1, 50].each do |count|
    it "holds with #{count} queues" do
      by_itself, with_us = compare(["-c", "10", *queues(count)]) do
        wait_until("all queues are watched") { watches.count { |client| client["cmd"] == "blmove" } == count }
      end
      expect(with_us).to be <= by_itself + more
      expect(seconds_until_started("q#{count - 1}")).to be < 1
    end
  end

  context "when the server does not know BLMOVE" do
    let(:server) { RedisServer.new("--rename-command", "BLMOVE", "") }

    it "holds with 50 queues" do
      by_itself, with_us = compare(["-c", "10", *queues(50)])
      expect(with_us).to be <= by_itself + more
      expect(redis.info("commandstats").dig("exists", "calls").to_i).to be_positive
      expect(seconds_until_started("q7")).to be < 2
    end
  end

  it "holds where BLMOVE is forbidden" do
    redis.call("ACL", "SETUSER", "default", "-blmove")
    by_itself, with_us = compare(["-c", "10", *queues(50)])
    expect(with_us).to be <= by_itself + more
    expect(seconds_until_started("q7")).to be < 2
  end

  it "holds where there is no connection left to watch with, and says why, once" do
    process = nil
    by_itself, with_us = compare(["-c", "10", *queues(5)]) do
      process = processes.last
      wait_until("all queues are watched") { watches.size == 5 }
      redis.config(:set, "maxclients", redis.info["connected_clients"].to_i - 5)
      watches.each { |client| redis.client(:kill, "id", client["id"]) }
      wait_until("it is logged") { process.log.include?("max number of clients reached") }
    end
    expect(with_us).to be <= by_itself + more
    expect(seconds_until_started("q3")).to be < 2
    expect(process.log.scan(/Redis (?:fails|is back)/)).to eq(["Redis fails"])

    redis.config(:set, "maxclients", 1000)
    wait_until("its end is logged") { process.log.include?("Redis is back") }
    expect(watches.size).to eq(5)
    expect(process.log.scan(/Redis (?:fails|is back)/)).to eq(["Redis fails", "Redis is back"])
  end

  it "holds where the queues of another capsule are full" do
    push_raw(*Array.new(4000) { |n| %({"class":"X","args":[],"jid":"#{n}","assured_jobs":true}) }, queue: "full")
    alone = asked_while_busy([fetcher(["full"])])
    together = asked_while_busy([fetcher(["full"]), fetcher(["empty"])])

    expect(together).to be <= (alone * 1.2) + more
  end

  # @param fetchers [Array<Sidekiq::AssuredJobs::Fetcher>] the first of them brings jobs
  # @return [Integer] what is asked while 100 jobs are done in each second, and others are waited for
  def asked_while_busy((busy, *idle))
    done = false
    waiting = idle.flat_map { |one| Array.new(5) { Thread.new { one.retrieve_work until done } } }
    working = Array.new(2) { Thread.new { work_slowly(busy) until done } }
    sleep 0.5
    asked_within(seconds)
  ensure
    done = true
    [*working, *waiting].each(&:join)
  end

  def work_slowly(fetcher)
    unit = fetcher.retrieve_work
    sleep 0.02
    unit.acknowledge
  end
end
