# frozen_string_literal: true

require_relative "background"
require_relative "log"
require_relative "recovery_client"
require_relative "recovery_count"
require_relative "unique_lock"
require_relative "way_in"

module Sidekiq
  module AssuredJobs
    # At a hard shutdown Sidekiq pushes unfinished jobs back into their queues. Pushing back and releasing
    # must be one step, else a crash in between leaves a job in both places, or in none.
    module PushBack
      # Jobs that Sidekiq itself pushed back, and that may yet be tracked by a thread that had just begun.
      @pushed = []

      # Attempts that their own threads put back, once they have ended.
      @awaited = []

      # What waits to be put back: engine, attempt, payload, and not before which time.
      @stuck = []
      @mutex = Mutex.new

      # What a thread has given back of the attempts that another gem's fetcher was asked to push back.
      GIVEN_BACK = :assured_jobs_given_back

      # Seconds until stuck ones are tried again.
      PAUSE = 5

      # Seconds that the process may live on for those awaited. Sidekiq itself waits for its threads since 6.4.0.
      PATIENCE = 1

      class << self
        # @return [void]
        def install
          require "sidekiq/fetch"
          stock = Sidekiq::BasicFetch
          # Prepending twice has no effect. Sidekiq 6.0 pushes back through the class itself.
          (stock.respond_to?(:bulk_requeue) ? stock.singleton_class : stock).prepend(Atomic)
          follow(Fetchers.foreign)
        end

        # @param fetchers [Array<Object>] of others, that may be asked to push back
        # @return [void]
        def follow(fetchers)
          fetchers.each { |fetcher| Compat::SIDEKIQ.requeuer(fetcher).prepend(AfterForeignFetch) }
        end

        # @param payload [String]
        # @return [Boolean] whether Sidekiq pushed this job back without us
        def pushed?(payload)
          @pushed.include?(payload)
        end

        # The attempt's thread has ended, and has put the job back if it had to.
        #
        # @param attempt [Integer]
        # @return [void]
        def await_no_longer(attempt)
          @mutex.synchronize { @awaited.delete(attempt) }
        end

        # Puts a job with a unique lock back after it has let go of that lock: through client middleware, which takes it
        # again. Without it the job would be dropped when its turn comes. As long as that cannot be done, the job stays
        # recorded, and is tried again.
        #
        # @param engine [Native::Engine]
        # @param attempt [Integer]
        # @param payload [String]
        # @return [void]
        def readmit(engine, attempt, payload)
          engine.keep(attempt)
          why = try_to_readmit(engine, attempt, payload)
          return unless why

          Log.warn { "an unfinished job stays recorded: #{why}" }
          readmit_later(engine, attempt, payload)
        end

        # @param engine [Native::Engine]
        # @param attempt [Integer]
        # @param payload [String]
        # @param seconds [Numeric] not before they have passed
        # @return [void]
        def readmit_later(engine, attempt, payload, seconds = 0)
          @mutex.synchronize do
            @stuck << [engine, attempt, payload, now + seconds]
            @retries = Background.start("retries") { retry_the_stuck } unless @retries&.alive?
          end
        end

        # @api private
        # @return [String, nil] why not
        def try_to_readmit(engine, attempt, payload)
          job, refusal = RecoveryClient.new.readmit(Sidekiq.load_json(payload))
          return refusal unless job

          # It has begun, so it must not be dropped for a duplicate: as little as one that a crash interrupted.
          job[RecoveryCount::KEY] ||= 0
          engine.enqueue(attempt, job["queue"].to_s, Sidekiq.dump_json(job), AssuredJobs.patience)
          nil
        rescue *APPLICATION_ERRORS => e
          Printable.error(e)
        end

        # Until the engine ends, which leaves the jobs to others.
        #
        # @api private
        # @return [void]
        def retry_the_stuck
          loop do
            sleep PAUSE
            still = @mutex.synchronize { @stuck.shift(@stuck.size) }.select { |one| still_stuck?(*one) }
            @mutex.synchronize do
              @stuck.concat(still)
              return @retries = nil if @stuck.empty?
            end
          end
        end

        # @api private
        def still_stuck?(engine, attempt, payload, due)
          engine.equal?(AssuredJobs.running_engine) && !engine.lost?(attempt) &&
            (now < due || !try_to_readmit(engine, attempt, payload).nil?)
        end

        # @api private
        def now
          ::Process.clock_gettime(::Process::CLOCK_MONOTONIC)
        end

        # Before the engine ends: gives threads the time to put their jobs back.
        #
        # @param engine [Native::Engine]
        # @return [void]
        def await_threads(engine)
          deadline = now + PATIENCE
          # What was acknowledged, or lost, is not put back by its thread.
          until @mutex.synchronize { @awaited.all? { |attempt| engine.lost?(attempt) } } ||
                now > deadline
            sleep 0.01
          end
        end

        # When the engine has ended: the next one of this process counts its attempts anew.
        #
        # @return [void]
        def forget
          @mutex.synchronize { @awaited.clear }
          @pushed.clear
        end

        # @param units [Array] units of work
        # @return [Hash{Object => Integer}] the attempt behind each unit of work that is in flight
        def attempts(units)
          engine = AssuredJobs.running_engine
          # Units of work are Structs: two with the same payload are equal, and still two jobs.
          units.each_with_object({}.compare_by_identity) do |unit, attempts|
            attempt = (unit.attempt if unit.is_a?(Fetcher::UnitOfWork)) || engine&.find(unit.job)
            attempts[unit] = attempt if attempt && !attempts.value?(attempt)
          end
        end

        # @param attempts [Hash{Object => Integer}] as {attempts} returns them
        # @return [void]
        def give_back(attempts)
          unique, plain = attempts.partition { |unit, _| UniqueLock.in?(unit.job) }.map { |pairs| pairs.map(&:last) }
          # Their threads release the locks when they end, and put the jobs back then.
          @mutex.synchronize { @awaited.concat(unique) }
          unique.each { |attempt| AssuredJobs.running_engine.keep(attempt) }
          limit = AssuredJobs.patience
          return if plain.empty? || AssuredJobs.running_engine.give_back(plain, limit)

          Log.warn do
            "#{plain.size} jobs could not be pushed back within #{limit} s; " \
              "they stay recorded and will be recovered"
          end
        end

        # @param units [Array] units of work that Sidekiq pushes back itself
        # @return [void]
        def remember(units)
          @pushed.concat(units.map(&:job))
        end
      end

      # For Sidekiq's own fetcher: in-flight jobs go back through the engine.
      module Atomic
        # @api private
        def bulk_requeue(inprogress, *rest)
          attempts = PushBack.attempts(inprogress)
          Thread.current[PushBack::GIVEN_BACK]&.concat(attempts.values)
          others = inprogress.reject { |unit| attempts.key?(unit) }
          PushBack.remember(others)
          super(others, *rest)
          PushBack.give_back(attempts)
        end
      end

      # For another gem's fetcher, which may keep its own books: it pushes back, then the record goes.
      module AfterForeignFetch
        # @api private
        def bulk_requeue(inprogress, *rest)
          # It may ask Sidekiq's own fetcher, or ours, so that they have gone back already, or will.
          given_back = (Thread.current[PushBack::GIVEN_BACK] ||= [])
          super
          left = PushBack.attempts(inprogress).values - given_back
          left.each { |attempt| AssuredJobs.running_engine.release(attempt) }
        ensure
          Thread.current[PushBack::GIVEN_BACK] = nil
        end
      end
    end
  end
end
