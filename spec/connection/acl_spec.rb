# frozen_string_literal: true

require_relative "../support/acl_rules"
require_relative "../support/connections"

RSpec.describe "A Redis user who may do no more than needed", :connection do
  let(:server) { RedisServer.new }
  let(:admin) { Redis.new(url: server.url) }
  let(:url) { "redis://app:pw@127.0.0.1:#{server.port}" }

  after do
    processes.each(&:kill)
    admin.close
    server.remove
  end

  def allow(*rules)
    admin.call("ACL", "SETUSER", "app", "reset", "on", ">pw", *rules)
    admin.config(:resetstat)
  end

  # @return [Array<String>] commands; without the courtesy that redis-client pays, and can do without
  def denied
    # A list up to redis-rb 5, a Hash since.
    entries = admin.call("ACL", "LOG").map { |entry| Array(entry).flatten(1).each_slice(2).to_h }
    entries.map { |entry| entry["object"] } - ["client|setinfo"]
  end

  # @return [Array<String>] commands that are allowed and were not needed
  def unused(rules)
    rules.grep(/\A\+/).map { |rule| rule.delete_prefix("+") } - admin.info("commandstats").keys
  end

  # Jobs that run, are scheduled, fail, and die; a process that is killed, one that recovers, and one that stops.
  def live_through(redis_url, **env)
    # A grace below the TTL, so that connections are looked at, too.
    env = { "SPEC_POLL" => "0.2", "ASSURED_JOBS_DEATH_GRACE" => "1" }.merge(env)
    boot = -> { start_sidekiq(url: redis_url, env:, args: %w[-c 5 -t 1]) }
    killed = boot.call
    push_all_kinds
    wait_until("they run") { started_everywhere.size == 5 }
    killed.kill
    heir = boot.call
    wait_until("the orphan runs again") { started_everywhere["orphan"] == "2" }
    push("AssuredJob", "left", 60)
    wait_until("it runs") { started_everywhere.key?("left") }
    heir.signal(:TERM)
    expect(heir.wait_for_exit).to be_success
    heir.log
  end

  def push_all_kinds
    push("AssuredJob", "done", 0)
    push("AssuredJob", "scheduled", 0, at: Time.now.to_f + 0.5)
    push("FailingJob", "fails", retry: 1)
    push("FailingJob", "dies", retry: 0)
    push("AssuredJob", "orphan", 6)
  end

  def started_everywhere
    [redis, admin].map { |each| each.hgetall("journal:started") }.reduce(:merge)
  end

  def look_from_a_console
    Sidekiq::AssuredJobs.get_instances_status
    Sidekiq::AssuredJobs.get_orphaned_jobs_info
    Sidekiq::AssuredJobs.reenqueue_orphans!
  end

  it "works with the rules for the records alone, all of which are needed" do
    allow(*AclRules::RECORDS)
    live_through(redis_server.url, "ASSURED_JOBS_REDIS_OPTIONS" => JSON.generate(url:))
    before = Sidekiq::AssuredJobs.configuration.dup
    Sidekiq::AssuredJobs.redis_options = { url: }
    look_from_a_console

    expect(denied).to be_empty
    expect(unused(AclRules::RECORDS) - AclRules::SELDOM).to be_empty
  ensure
    Sidekiq::AssuredJobs.instance_variable_set(:@configuration, before)
  end

  it "works with those for Sidekiq and its queues" do
    rules = AclRules::RECORDS + AclRules::QUEUES + AclRules::SIDEKIQ
    allow(*rules, "+hincrby") # for the journal of the specs
    AnySidekiq.redis = { url: }
    log = live_through(url)
    look_from_a_console

    expect(log).to include("by assured fetch")
    expect(denied).to be_empty
    expect(unused(rules) - AclRules::SELDOM - AclRules::NEEDLESS).to be_empty
  end

  it "still works without the courtesy of a name" do
    allow(*AclRules::RECORDS - ["+client|setname"])
    expect(look(url:)).to eq(0)
    expect(denied).to eq(["client|setname"])
  end
end
