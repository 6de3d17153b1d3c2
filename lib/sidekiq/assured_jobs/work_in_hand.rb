# frozen_string_literal: true

require_relative "assured_classes"
require_relative "fetcher"
require_relative "lease"
require_relative "processing"
require_relative "recovery_count"
require_relative "unacknowledged"

module Sidekiq
  module AssuredJobs
    # What a Sidekiq thread has in hand, from the moment it got a unit of work until Sidekiq is done with it.
    # The unit of work holds the payload as it was in the queue, and it is acknowledged once a job ran or its
    # retry is stored; middleware sees neither. Each thread has one of these, and uses it again for each job.
    class WorkInHand
      KEY = :assured_jobs_work_in_hand

      @hands = {}.compare_by_identity

      class << self
        # @return [Hash{Hash => WorkInHand}] by the job that Sidekiq has parsed
        attr_reader :hands

        # @return [void]
        def install
          require "sidekiq/processor"
          # Prepending twice has no effect.
          Sidekiq::Processor.prepend(Processing)
        end

        # By the very Hash that Sidekiq has parsed: a job that a job runs inline has another one, and middleware may go
        # on in a thread of its own.
        #
        # @param job [Hash] parsed payload, as middleware gets it
        # @return [WorkInHand, nil] whose job it is
        def of(job)
          hands[job]
        end

        # @return [Lease, nil] of the job that this thread runs, if it is in flight
        def lease
          current&.lease
        end

        # By thread, and not by fiber as `Thread#[]` has it: middleware may run a job in a fiber of its own.
        #
        # @return [WorkInHand, nil]
        def current
          Thread.current.thread_variable_get(KEY)
        end

        # @return [WorkInHand] for a thread that has none yet
        def begin_thread
          new.tap { |hand| Thread.current.thread_variable_set(KEY, hand) }
        end
      end

      # @return [Object] unit of work
      attr_reader :work

      # @return [Lease, nil] of the job in hand, once it is in flight
      attr_reader :lease

      # Recording begins at once, while Sidekiq still prepares the job.
      #
      # @param work [Object] unit of work
      # @return [void]
      def take(work)
        @given = work
        @work = Fetcher.unit_behind(work) || work
        @attempt = @lease = @job = @parsed = nil
        @began = @goes_back = false
        @tracked = !fetched.nil?
        return if fetched && work.equal?(@work)

        work.class.prepend(Acknowledged) unless work.is_a?(Acknowledged)
        record unless fetched
      rescue Error => e
        # Sidekiq does not hold the job yet: an exception here would lose it.
        Log.error { "a job runs unrecorded: #{Printable.error(e)}" }
      end

      # @param job [Hash] parsed payload
      # @return [void]
      def parsed(job)
        WorkInHand.hands[@parsed = job] = self
      end

      # The class of the job says that it is not assured, so it must not come back.
      #
      # @return [void]
      def disclaim
        @work.disclaim if fetched
      end

      # For middleware that goes on in a thread of its own.
      #
      # @yield the job
      # @return [Object] what the block returns
      def in_this_thread
        before = WorkInHand.current
        Thread.current.thread_variable_set(KEY, self)
        yield
      ensure
        Thread.current.thread_variable_set(KEY, before)
      end

      # Waits until the job is recorded, if it is not yet.
      #
      # @param job [Hash] parsed payload
      # @return [void]
      def track(job)
        @job = job
        @tracked = true
        @engine = AssuredJobs.engine
        unless fetched
          @attempt ||= @engine.track(job["jid"].to_s, @work.queue_name, @work.job)
          @engine.await_record(@attempt)
        end
        @lease = Lease.new(@engine, fetched || @attempt, job)
      end

      # @return [Boolean] whether the job that the thread had in hand last was, or is, in flight
      def tracked?
        @tracked
      end

      # @return [Boolean] whether all middleware let the job pass, so that it runs or ran
      def began?
        @began
      end

      # @return [void]
      def begin_job
        RecoveryCount.forget(@job) if @job
        @began = true
      end

      # The job has not run, and goes back although Sidekiq will acknowledge it.
      #
      # @return [void]
      def go_back
        fetched ? @work.go_back : @goes_back = true
      end

      # Sidekiq is done with the job: it ran, or its retry is stored, or it is dead.
      #
      # @param work [Object] unit of work
      # @return [void]
      def acknowledged(work)
        return unless work.equal?(@given)

        @work.acknowledge unless work.equal?(@work)
        return if !@attempt || @goes_back

        @engine.release(@attempt)
        @attempt = nil
      end

      # The thread is through with the job. If that was not acknowledged (the thread was killed, the retry could
      # not be stored), {Unacknowledged} sees to the job; unless it was pushed back already.
      #
      # @param shutdown [Boolean] whether Sidekiq itself has ended the job, at a hard shutdown
      # @return [void]
      def leave(shutdown)
        fetched ? @work.ended(shutdown) : ended(shutdown)
      rescue ForkError
        # A forked child that unwinds through its parent's work holds nothing.
      ensure
        WorkInHand.hands.delete(@parsed)
        @given = @work = @lease = @job = @parsed = nil
      end

      private

      # @return [Integer, nil] the attempt, if our fetcher brought the job
      def fetched
        @work.attempt if @work.is_a?(Fetcher::UnitOfWork)
      end

      def record
        return unless @work.job.include?(AssuredClasses::FLAG)

        @engine = AssuredJobs.engine_if_possible
        @attempt = @engine&.track_if_assured(@work.queue_name, @work.job)
        @tracked = !@attempt.nil?
      end

      def ended(shutdown)
        return unless @work && @attempt
        return @engine.release(@attempt) if PushBack.pushed?(@work.job)

        Unacknowledged.settle(@engine, @attempt, @goes_back || shutdown)
      end
    end
  end
end
