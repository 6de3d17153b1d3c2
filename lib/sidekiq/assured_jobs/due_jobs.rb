# frozen_string_literal: true

require "sidekiq/scheduled"
require_relative "compat"
require_relative "engine_settings"
require_relative "errors"
require_relative "fetchers"
require_relative "log"
require_relative "due_client"
require_relative "recovery_count"

module Sidekiq
  module AssuredJobs
    # Takes the place of what moves Sidekiq's scheduled jobs and retries into their queues when they are due. Sidekiq
    # pops such a job and pushes it afterwards; in between a SIGKILL loses it. Here an assured job is in flight
    # meanwhile, and its push and its release are one step.
    class DueJobs < Sidekiq::Scheduled::Enq
      class << self
        # Whoever fetches: unless the application or another gem has its own way.
        #
        # @return [void]
        def install
          Compat::SIDEKIQ.options[:scheduled_enq] = self unless foreign_scheduler
        end

        # @return [Boolean] whether this process brings a retry with a count back as it is. Sidekiq's own scheduler
        #   takes it through client middleware, which may refuse it, and then it is gone
        def at_work?
          Compat::SIDEKIQ.options[:scheduled_enq] == self && !stock_changed?
        end

        # @return [String, nil] who moves due jobs into their queues, if that is not Sidekiq itself
        def foreign_scheduler
          scheduler = Compat::SIDEKIQ.options[:scheduled_enq]
          return Fetchers.name_of(scheduler) if scheduler && scheduler != self

          "a changed #{superclass.name}" if stock_changed?
        end

        # @api private
        # @return [Boolean]
        def stock_changed?
          Fetchers.changed?(superclass, "scheduled.rb", %i[enqueue_jobs])
        end
      end

      # @param sorted_sets [Array<String>]
      # @return [void]
      def enqueue_jobs(sorted_sets = Sidekiq::Scheduled::SETS)
        # Gems that change it later than we did.
        return super if DueJobs.stock_changed?

        sorted_sets.each do |set|
          # None runs while the process exits.
          while !@done && (engine = AssuredJobs.running_engine) &&
                (due = engine.pop_due(set, AssuredJobs.patience))
            _, payload, attempt = due
            attempt ? enqueue(engine, set, payload, attempt) : push(Sidekiq.load_json(payload))
            Log.debug { "enqueued #{set}: #{payload}" }
          end
        end
      end

      private

      # Into the Redis that it came from, which need not be that of Sidekiq.redis.
      def push(job)
        Sidekiq::Client.via(Compat::SIDEKIQ.fetching_pool) { Sidekiq::Client.push(job) }
      end

      def enqueue(engine, set, payload, attempt)
        job = prepare(set, Sidekiq.load_json(payload))
        if job
          job["enqueued_at"] = EngineSettings.timestamp
          engine.enqueue(attempt, job["queue"].to_s, Sidekiq.dump_json(job), AssuredJobs.patience)
        else
          # Client middleware refused it, as it may refuse any push.
          engine.release(attempt)
        end
        done = true
      rescue ScriptError, SystemStackError => e
        # Sidekiq's poller would end by these.
        raise Error, Printable.error(e)
      ensure
        engine.give_back_later(attempt) unless done
      end

      # A retry that Sidekiq has made has no count: that one is the engine's, for an attempt that was not acknowledged.
      # It is brought back as an orphan is, and no application code may refuse it.
      def prepare(set, job)
        return job if set == "retry" && job.key?(RecoveryCount::KEY)

        # Sidekiq 7 has a `@client` of its own here.
        @due_client ||= DueClient.new
        @due_client.prepare(job)
      end
    end
  end
end
