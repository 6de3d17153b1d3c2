# frozen_string_literal: true

# An application whose jobs end in odd ways. Each run is a line of a file: Redis may take nothing at that moment.

require "sidekiq/processor"
require_relative "app"

module Endings
  RUNS = ENV.fetch("SPEC_RUNS")

  module_function

  def note(key)
    File.open(RUNS, "a") { |file| file.write("#{key}\n") }
  end

  # @param how [String]
  def come(how)
    case how
    when "Thread.exit" then Thread.exit
    when "Thread#kill"
      thread = Thread.current
      Thread.new { thread.kill }
      sleep
    when "Sidekiq::Shutdown" then raise Sidekiq::Shutdown
    when "exit" then exit
    when "throw" then throw :nobody_catches_it
    when "idle threads killed" then kill_idle_threads
    else raise how
    end
  end

  # @return [Array<Thread>] Sidekiq's, that run jobs
  def threads
    Thread.list.select { |thread| thread.name&.end_with?("processor") }
  end

  # Those that wait for a job.
  def kill_idle_threads
    (threads - [Thread.current]).each(&:kill).each(&:join)
  end
end

class EndingJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker
  sidekiq_options assured_max_recoveries: 1
  sidekiq_retry_in { raise "nobody asks the application" }

  # @param key [String]
  # @param how [String] how it ends
  # @param seconds [Numeric] how long it takes
  def perform(key, how, seconds = 0)
    Endings.note(key)
    sleep seconds
    Endings.come(how)
  end
end

# Looks how many threads there are, some time after it has begun.
class BusyJob
  include Sidekiq::Worker
  include Sidekiq::AssuredJobs::Worker

  def perform(key)
    sleep 1
    Endings.note("#{Endings.threads.size} threads")
    sleep 2
    Journal.finish(key)
  end
end

class PlainEndingJob
  include Sidekiq::Worker

  def perform(key, how)
    Endings.note(key)
    Endings.come(how)
  end
end

# As a serializer may refuse what an error has brought into a retry.
module Undumpable
  def dump_json(object)
    raise "it cannot be dumped" if object.is_a?(Hash) && object["retry_count"] && object["args"][1] == "undumpable"

    super
  end
end
Sidekiq.singleton_class.prepend(Undumpable)

# Kills a thread that has just got this job, once.
module KilledWithAJob
  private

  def fetch
    super.tap do |unit|
      next unless unit&.job&.include?("killed with a job") && File.empty?(Endings::RUNS)

      Endings.note("killed")
      Thread.exit
    end
  end
end
Sidekiq::Processor.prepend(KilledWithAJob)

class InFiber
  def call(*, &)
    Fiber.new(&).resume
  end
end

class InThread
  def call(*, &)
    Thread.new(&).value
  end
end

# As client middleware may do with any push.
class Refusing
  def call(*)
    Endings.note("refused")
    false
  end
end

Sidekiq.configure_server do |config|
  config.client_middleware { |chain| chain.add(Refusing) } if ENV["SPEC_REFUSES"]
  config.death_handlers << ->(job, error) { Endings.note("dead #{job["args"].first} #{error.class}") }
  config.server_middleware do |chain|
    case ENV.fetch("SPEC_RUNS_IN", nil)
    when "fiber" then chain.prepend(InFiber)
    when "thread" then chain.add(InThread)
    end
  end
end
