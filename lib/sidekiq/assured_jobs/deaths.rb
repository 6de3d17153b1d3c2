# frozen_string_literal: true

require_relative "compat"
require_relative "dead_jobs"
require_relative "engine_settings"
require_relative "errors"
require_relative "events"
require_relative "integrations/unique_jobs"
require_relative "log"

module Sidekiq
  module AssuredJobs
    # Runs what an application wants to run when a job dies: the class's `sidekiq_retries_exhausted` block, then
    # Sidekiq's death handlers.
    #
    # The script that puts a job into the Dead set puts its payload on the list `deaths` in the same step, and
    # here it is taken off before its handlers begin. So a process that dies leaves the handlers of all other jobs
    # to the next one; those of the job that it was at do not run again. Handlers that kill their process would
    # otherwise kill one process after the other, as the job did.
    # @api private
    module Deaths
      @dead_jobs = DeadJobs.new

      class << self
        # @yieldreturn [Boolean] whether to go on with another job
        # @return [void]
        def attend(&)
          @dead_jobs.take_ours(&).each do |payload|
            Events.guard("what surrounds death handlers") do
              job = Sidekiq.load_json(payload)
              log(job)
              # Rails lends its connections to code that runs inside this.
              reloader.call { notify(job, payload) }
            end
          end
        end

        private

        def notify(job, payload)
          error = error(job)
          exhausted = Events.guard("sidekiq_retries_exhausted of #{Printable.name(job["class"])}") do
            exhausted_block(job)&.call(job, error)
          end
          discarded = exhausted == :discard && Compat::SIDEKIQ.discards?
          discard(job, payload) if discarded
          run_death_handlers(job, error, discarded)
          Events.guard("releasing a unique lock") { UniqueJobs.release(job) }
        end

        # Only the block's end tells, and until then the job has to be somewhere.
        def discard(job, payload)
          Events.guard("discarding a job") do
            Compat::SIDEKIQ.fetching_pool.with { |redis| redis.zrem("dead", payload) }
          end
          Log.warn do
            "#{label(job)} was discarded by its sidekiq_retries_exhausted"
          end
        end

        def run_death_handlers(job, error, discarded)
          if Compat::SIDEKIQ.tells_of_discards?
            job["discarded_at"] = EngineSettings.timestamp if discarded || job["dead"] == false
          elsif discarded
            return
          end
          Compat::SIDEKIQ.death_handlers.each do |handler|
            Events.guard("a death handler") { handler.call(job, error) }
          end
        end

        def reloader
          Compat::SIDEKIQ.options[:reloader] || proc { |&block| block.call }
        end

        def error(job)
          (job["error_class"] == PoisonJob.name ? PoisonJob : UnrecoverableJob).new(job["error_message"])
        end

        # A framework's own class, in front of the application's, has none.
        def exhausted_block(job)
          job.values_at("class", "wrapped").compact.each do |name|
            block = block_of(name)
            return block if block
          end
          nil
        end

        def block_of(name)
          klass = Object.const_get(name)
          klass.sidekiq_retries_exhausted_block if klass.respond_to?(:sidekiq_retries_exhausted_block)
        rescue NameError
          # Jobs of classes that do not exist die, too.
        end

        def label(job)
          "#{Printable.name(job["class"])} job #{Printable.name(job["jid"])}"
        end

        def log(job)
          fate = job["dead"] == false ? "was dropped (dead: false)" : "is in the Dead set"
          Log.warn do
            "#{label(job)} #{fate}; its death handlers run now"
          end
        end
      end
    end
  end
end
