# frozen_string_literal: true

# An application whose jobs are unique, by the sidekiq-unique-jobs gem that UNIQUE_JOBS_PATH leads to.

ENV.fetch("UNIQUE_JOBS_PATH").split(":").reverse_each { |path| $LOAD_PATH.unshift(path) }

require_relative ENV["SPEC_WITHOUT_US"] ? "plain_app" : "app"
require_relative "journal"
require "sidekiq-unique-jobs"

# It looks at each start, and would take locks now and then. {Reaping} does so when it is told.
SidekiqUniqueJobs.configure { |config| config.reaper = :none if config.respond_to?(:reaper=) }

# Outermost: what the reaper of that gem does to a job that a thread has just popped, and what has ended.
class Around
  def call(_job, payload, _queue)
    if payload["args"] == ["loses_its_lock"] && Sidekiq.redis { |redis| redis.incr("reaped") } == 1
      digests = SidekiqUniqueJobs::Digests
      digests = digests.new if digests.respond_to?(:new)
      digests.delete_by_digest(payload["lock_digest"] || payload["unique_digest"])
    end
    yield
  ensure
    Journal.write("ended", Process.pid)
    Journal.write("together", payload["args"].last) if payload["args"].first == "together"
  end
end

Sidekiq.configure_server { |config| config.server_middleware { |chain| chain.prepend Around } }

# Since version 7 of that gem the application names the middleware itself.
if defined?(SidekiqUniqueJobs::Middleware::Client)
  Sidekiq.configure_client do |config|
    config.client_middleware { |chain| chain.add SidekiqUniqueJobs::Middleware::Client }
  end
  Sidekiq.configure_server do |config|
    config.client_middleware { |chain| chain.add SidekiqUniqueJobs::Middleware::Client }
    config.server_middleware { |chain| chain.add SidekiqUniqueJobs::Middleware::Server }
    SidekiqUniqueJobs::Server.configure(config)
    config.death_handlers.clear if ENV["SPEC_NO_DEATH_HANDLERS"]
  end
end

# Duplicates have the same arguments, so they are told apart by their jids.
module UniqueJob
  def self.included(base)
    base.include(Sidekiq::Job)
    base.include(Sidekiq::AssuredJobs::Worker) unless ENV["SPEC_WITHOUT_US"]
  end

  # @param how [String] "runs" while there is a key `hold`, or does something else at its first run
  def perform(how = "runs", *details)
    Journal.start(jid)
    first = Sidekiq.redis { |redis| redis.hget("journal:started", jid) } == "1"
    first && how != "runs" ? public_send(how, *details) : wait
    Journal.finish(jid)
  end

  def raises
    raise "as it should"
  end

  def kills_its_thread
    Thread.current.kill
  end

  # The first of several jobs does.
  def kills_one_thread
    kills_its_thread if Sidekiq.redis { |redis| redis.incr("killed") } == 1
    wait
  end

  def loses_its_lock; end

  # Until its duplicate has ended, if that was accepted.
  def together(pair)
    Journal.write("pairs", pair)
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 4
    sleep 0.02 until alone?(pair.to_s) || Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
  end

  # Goes on whatever Sidekiq asks of it.
  def is_stubborn
    wait
  rescue Sidekiq::Shutdown
    sleep
  end

  private

  def alone?(pair)
    accepted, ended = Sidekiq.redis do |redis|
      [redis.hget("journal:accepted", pair), redis.hget("journal:together", pair)].map(&:to_i)
    end
    ended >= accepted - 1
  end

  def wait
    sleep 0.02 while Sidekiq.redis { |redis| redis.get("hold") && !redis.get("let_go:#{Process.pid}") }
  end
end

# One class for each lock, and for each answer to a duplicate: `UntilExecutedJob`, `UntilExecutedRejectJob`.
%w[until_executing until_executed until_expired until_and_while_executing while_executing].each do |lock|
  ["", "reject", "replace", "raise", "log", "reschedule"].each do |answer|
    name = "#{lock}_#{answer}_job".split("_").map(&:capitalize).join
    options = { lock: lock.to_sym, lock_ttl: (ENV.fetch("SPEC_LOCK_TTL", "60").to_i if lock == "until_expired") }
    options[:on_conflict] = answer.to_sym unless answer.empty?
    Object.const_set(name, Class.new { include UniqueJob }).sidekiq_options(**options.compact)
  end
end

# Two may run at once.
class LimitedJob
  include UniqueJob
  sidekiq_options lock: :while_executing, lock_limit: 2
end

# Its lock does not outlive a long run.
class BrieflyLockedJob
  include UniqueJob
  sidekiq_options lock: :while_executing, lock_ttl: 2
end
