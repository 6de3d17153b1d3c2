# frozen_string_literal: true

require_relative "clock"
require_relative "integrations/unique_jobs"
require_relative "log"
require_relative "way_in"

module Sidekiq
  module AssuredJobs
    # At a hard shutdown Sidekiq pushes unfinished jobs back into their queues. Pushing back and releasing
    # must be one step, else a crash in between leaves a job in both places, or in none.
    module PushBack
      # Jobs that Sidekiq itself pushed back, and that may yet be tracked by a thread that had just begun.
      @pushed = []

      # What a thread has given back of the attempts that another gem's fetcher was asked to push back.
      GIVEN_BACK = :assured_jobs_given_back

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

        # When the engine has ended: the next one of this process counts its attempts anew.
        #
        # @return [void]
        def forget
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
          engine = AssuredJobs.running_engine
          limit = AssuredJobs.patience
          deadline = Clock.now + limit
          marked, plain = attempts.partition { |unit, _| UniqueJobs.begun?(unit) }
          in_time = plain.empty? || engine.give_back(plain.map(&:last), limit)
          marked.each do |unit, attempt|
            rest = [deadline - Clock.now, 0].max.to_f
            in_time &= engine.enqueue(attempt, unit.queue_name, UniqueJobs.mark(unit.job), rest)
          end
          return if in_time

          Log.warn do
            "#{attempts.size} jobs could not be pushed back within #{limit} s; " \
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
