# frozen_string_literal: true

require "sidekiq/fetch"

module Sidekiq
  module AssuredJobs
    # Assured fetch: takes the place of Sidekiq's own fetcher. The engine pops a job and records it in one atomic
    # step, so there is no instant at which an assured job is nowhere. Order and weights of queues are those
    # of the class that it inherits from; a hard shutdown goes through {PushBack}.
    class Fetcher < Sidekiq::BasicFetch
      # A job in hand, in flight if it is assured.
      class UnitOfWork < Sidekiq::BasicFetch::UnitOfWork
        CONFIGURED = members.include?(:config)
        private_constant :CONFIGURED

        # @return [Integer, nil] the attempt, if the job is in flight
        attr_reader :attempt

        # @param queue [String] with `queue:`
        # @param job [String] payload
        # @param config [Object, nil] what Sidekiq gives its own since 6.5
        # @param attempt [Integer, nil]
        # @param engine [Native::Engine]
        def initialize(queue, job, config, attempt, engine)
          CONFIGURED ? super(queue, job, config) : super(queue, job)
          @attempt = attempt
          @engine = engine
        end

        # Sidekiq is done with the job: it ran, or its retry is stored, or it is dead.
        #
        # @return [void]
        def acknowledge
          return if @goes_back || @acknowledged

          # In this order: a thread that is killed in between gives back what is not held any more.
          @engine.release(attempt) if attempt
          @acknowledged = true
        end

        # The job is not assured after all.
        #
        # @return [void]
        def disclaim
          @engine.release(attempt) if attempt
          @attempt = nil
        end

        # Puts the job back untouched, as Sidekiq does with one that it gets after it was told to be quiet.
        #
        # @return [void]
        def requeue
          Fetcher.handed_on
          attempt ? @engine.give_back([attempt], AssuredJobs.patience) : super
        end

        # Has the job put back if it ended without having been acknowledged: its thread was killed, or its retry could
        # not be stored. What was pushed back already is not held any more.
        #
        # @param shutdown [Boolean] whether Sidekiq itself has ended the job, at a hard shutdown
        # @return [void]
        def ended(shutdown)
          return if !attempt || @acknowledged

          Unacknowledged.settle(@engine, attempt, @goes_back || shutdown)
        end

        # The job has not run, and goes back although Sidekiq will acknowledge it.
        #
        # @return [void]
        def go_back
          @goes_back = true
        end
      end

      # What this thread got of our fetcher last: a unit of work, or true if it came to nothing.
      LAST = :assured_jobs_last_fetch
      private_constant :LAST

      # What this thread has popped and nobody has taken in hand yet: queue, payload, attempt.
      POPPED = :assured_jobs_popped
      private_constant :POPPED

      class << self
        # Whoever asks has the job in hand from now on.
        #
        # @return [void]
        def handed_on
          Thread.current[POPPED] = nil
        end

        # The thread ends. It may have been killed when it had a job already, and nobody else knows of it.
        #
        # @param engine [Native::Engine]
        # @return [void]
        def give_back_popped(engine)
          _, _, attempt = Thread.current[POPPED]
          engine.give_back_later(attempt) if attempt
        end

        # @return [void]
        def forget
          Thread.current[LAST] = nil
        end

        # @return [Boolean] whether this thread has asked our fetcher since {forget}
        def asked?
          !Thread.current[LAST].nil?
        end

        # Who puts a fetcher around ours may put a unit of work around each of ours, too.
        #
        # @param work [Object] unit of work that this thread got
        # @return [UnitOfWork, nil] of ours, for the same job
        def unit_behind(work)
          return work if work.is_a?(UnitOfWork)

          unit = Thread.current[LAST]
          unit if unit.is_a?(UnitOfWork) && unit.queue_name == work.queue_name && unit.job == work.job
        end
      end

      # @param source [Hash, Module, Sidekiq::Capsule] where Sidekiq's own fetcher finds its queues: the options, or
      #   the capsule since Sidekiq 7
      # @param engine [Native::Engine]
      def initialize(source, engine = AssuredJobs.engine)
        super(source)
        @engine = engine
        # Sidekiq 6 keeps a timeout among them.
        names = @queues.grep(String).map { |queue| queue.delete_prefix("queue:") }
        @native_queues = engine.open_queues(names, @strictly_ordered_queues) unless names.empty?
      end

      # From now on this fetches as Sidekiq's own does, with whatever another gem has changed in it.
      #
      # @return [void]
      def step_back
        @steps_back = true
      end

      # @return [UnitOfWork, nil] nil when no job came in two seconds, so that Sidekiq can look whether to stop
      def retrieve_work
        return super if @steps_back

        Thread.current[LAST] = true
        unless @native_queues
          sleep(TIMEOUT)
          return
        end

        popped = Thread.current[POPPED] = []
        return unless @engine.fetch(@native_queues, TIMEOUT.to_f, popped)

        queue, payload, attempt = popped
        Thread.current[LAST] = UnitOfWork.new("queue:#{queue}", payload, @config, attempt, @engine)
      end
    end
  end
end
