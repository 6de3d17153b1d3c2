# frozen_string_literal: true

require_relative "compat"
require_relative "errors"
require_relative "log"
require_relative "work_in_hand"

module Sidekiq
  module AssuredJobs
    # Sidekiq's threads. One that a job or another thread kills ends without a word to its manager, which takes it for
    # alive: with each such end the process would run one job less at once.
    # @api private
    module WorkerThreads
      # What managers are told.
      Killed = Class.new(Error)

      # How many units of work are remembered; Sidekiq itself remembers one for each of its threads.
      REMEMBERED = 100

      # Units of work that are not in flight and whose threads were killed.
      @abandoned = Thread::Queue.new

      class << self
        # @return [void]
        def install
          require "sidekiq/processor"
          # Prepending twice has no effect.
          Sidekiq::Processor.prepend(Watched)
        end

        # A thread ends that Sidekiq takes for alive.
        #
        # @param processor [Sidekiq::Processor]
        # @param stopping [Boolean] whether Sidekiq had told it to end
        # @return [void]
        def replace(processor, stopping)
          # Not where the process ends, nor in a forked child that unwinds through its parent's work.
          return unless AssuredJobs.running_engine

          unit = processor.job
          abandon(unit) if unit && !WorkInHand.current&.tracked?
          Log.error do
            "a thread ended #{where(unit)}#{"; another one takes its place" unless stopping}"
          end
          # Puts none in its place where it is quiet, or stops.
          Compat::SIDEKIQ.replace(processor, Killed.new("the thread ended"))
        rescue ThreadError => e
          lost(e)
        end

        # @param error [ThreadError] why a thread that ends could not be replaced
        # @return [void]
        def lost(error)
          Log.error do
            "a thread that ended could not be replaced (#{Printable.error(error)}); " \
              "this process runs fewer jobs at once from now on"
          end
        end

        # Pushes back what Sidekiq would have pushed back when it shuts down, had the thread not been replaced.
        #
        # @return [void]
        def requeue_abandoned
          @abandoned.pop.requeue until @abandoned.empty?
        rescue *APPLICATION_ERRORS => e
          Log.warn { "a job whose thread was killed is not pushed back: #{Printable.error(e)}" }
        end

        private

        def abandon(unit)
          @abandoned << unit if @abandoned.size < REMEMBERED
        end

        def where(unit)
          return "between two jobs" unless unit

          job = Sidekiq.load_json(unit.job)
          %(while it ran job "#{Printable.name(job["jid"])}" ("#{Printable.name(job["wrapped"] || job["class"])}"))
        rescue StandardError
          "while it ran a job"
        end
      end

      # Prepended to Sidekiq's processors.
      module Watched
        private

        def run
          super
          known = true
        rescue ThreadError => e
          known = true
          WorkerThreads.lost(e)
          raise
        ensure
          # Also where it was told to end in the moment in which a job came.
          AssuredJobs.running_engine&.then { |engine| Fetcher.give_back_popped(engine) }
          WorkerThreads.replace(self, @done) unless known
        end

        # Sidekiq tells a thread to end before it raises this in it. Up to 6.4 it does not replace one that ends by the
        # application's own.
        def process_one(*)
          super
        rescue Sidekiq::Shutdown
          raise if @done

          @job = nil
        end
      end
    end
  end
end
