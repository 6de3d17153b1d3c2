# frozen_string_literal: true

# Jobs that kill their process, and an application that wants to know.

# Debian's Rails gems are outside the bundle. Where they are missing there is nothing to subscribe to.
$LOAD_PATH.concat(ENV.fetch("SPEC_ACTIVE_SUPPORT", "").split(":"))
begin
  require "active_support"
  require "active_support/notifications"
rescue LoadError
  nil
end

require_relative "killing_job"

module Told
  module_function

  def write(list, *what)
    Sidekiq.redis { |redis| redis.rpush("told:#{list}", JSON.generate(what)) }
  end
end

KillingJob.sidekiq_retries_exhausted do |job, error|
  Told.write("exhausted", job["jid"], error.class.name, error.message)
end

class ImpatientKillingJob < KillingJob
  sidekiq_options assured_max_recoveries: 1
end

class ForgottenJob < KillingJob
  sidekiq_options dead: false
end

# Of another application, which shares this Redis.
TheirJob = Class.new(KillingJob) if ENV["SPEC_THEIR_CLASS"]

class RaisingHandlerJob < KillingJob
  sidekiq_retries_exhausted { raise "the exhausted block is out of order" }
end

class DiscardingJob < KillingJob
  sidekiq_retries_exhausted { :discard }
end

# Stops in the middle, as iterable jobs do; what runs around it pushes the rest.
class InterruptedJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker

  Interrupted = Class.new(StandardError)

  class Handler
    def call(_worker, job, _queue)
      yield
    rescue Interrupted
      Sidekiq::Client.push(job.merge("queue" => "later"))
    end
  end

  def perform(key)
    Journal.start(key)
    raise Interrupted
  end
end

# Is pushed anew by what runs around it, instead of run.
class ThrottledJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker

  class Throttle
    def call(worker, job, _queue)
      worker.is_a?(ThrottledJob) ? Sidekiq::Client.push(job.merge("queue" => "later")) : yield
    end
  end
end

Sidekiq.configure_server do |config|
  AnySidekiq.options[:dead_max_jobs] = ENV["SPEC_DEAD_MAX_JOBS"].to_i if ENV["SPEC_DEAD_MAX_JOBS"]
  config.server_middleware do |chain|
    chain.add(InterruptedJob::Handler)
    chain.add(ThrottledJob::Throttle)
  end
  config.death_handlers << ->(_job, _error) { raise "the first death handler is out of order" }
  config.death_handlers << ->(job, error) { Told.write("dead", job["jid"], error.class.name, job["error_class"]) }
  config.death_handlers << ->(job, _error) { Told.write("discarded", job["jid"]) if job["discarded_at"] }
  config.death_handlers << lambda do |job, _error|
    Process.kill(:KILL, Process.pid) && sleep if job["args"] == ["deadly handler"]
  end
end

Sidekiq::AssuredJobs.configure do |config|
  Sidekiq::AssuredJobs::Events::NAMES.each do |name|
    config.on(name) { |_event| raise "the first handler is out of order" }
    config.on(name) { |event| Told.write("event:#{name}", event.to_h) }
  end
end

if defined?(ActiveSupport::Notifications)
  ActiveSupport::Notifications.subscribe(/\.sidekiq_assured_jobs\z/) do |name, *, payload|
    Told.write("notified", name, payload)
    raise "the subscriber is out of order"
  end
end
