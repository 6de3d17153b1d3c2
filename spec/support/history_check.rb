# frozen_string_literal: true

require "forwardable"
require_relative "history_reading"

# Judges a {History} by two promises: no accepted job is lost (S1), and none runs again without a reason (S2).
#
# A run is a reason for one more when it raised, or when a fault struck its process while the job was in hand: from
# the fetch, shortly before the start, to the release, shortly after the end. While Redis is away a release waits, so
# a job stays in hand until Redis is back. A run that raised while Redis could not be reached is a reason for two: where
# the reply is lost to the command that stores the retry, nobody knows that there is one, and the job goes back, too.
class HistoryCheck
  extend Forwardable

  # Seconds from a fetch to the start of its job, and from its end to its release; also what a process needs to
  # learn that a fault is over.
  SLACK = 1.0

  # @return [Array<String>] jobs that are queued, scheduled, to be retried, or in flight
  attr_reader :pending
  # @return [Array<String>] jobs in Sidekiq's Dead set
  attr_reader :dead

  def_delegators :@reading, :runs, :faults, :story

  # @param events [Array<History::Event>]
  # @param pending [Array<String>] see {#pending}
  # @param dead [Array<String>] see {#dead}
  # @param slack [Numeric] see {SLACK}
  def initialize(events, pending: [], dead: [], slack: SLACK)
    @reading = HistoryReading.new(events)
    @pending = pending
    @dead = dead
    @slack = slack
  end

  # @return [Array<String>] jobs that Redis accepted
  def accepted
    @accepted ||= @reading.subjects(:accepted)
  end

  # @return [Array<String>] jobs that are done
  def finished
    @finished ||= @reading.subjects(:finished).uniq
  end

  # @return [Array<String>] jobs that Redis accepted and that are neither done nor dead
  def unfinished
    @unfinished ||= accepted - finished - dead
  end

  # @return [Array<String>] jobs that Redis accepted and that are neither done, nor dead, nor pending
  def lost
    @lost ||= unfinished - pending
  end

  # @return [Array<String>] those of them that some process had begun to run
  def lost_after_start
    lost & @reading.subjects(:started)
  end

  # A Redis that loses data takes along the jobs that lie in it. Not those that run: they are recorded anew within one
  # heartbeat, unless their process is struck before.
  #
  # @return [Array<String>] lost jobs that a Redis which lost data explains
  def lost_by_redis
    losses = faults.select { |fault| fault.target == History::EVERYBODY }
    lost.select { |job| losses.any? { |loss| took?(loss, job) } }
  end

  # @return [Array<String>] jobs of which a run was followed by another one without a reason
  def unexplained
    @unexplained ||= runs.select do |_, runs|
      runs = runs.sort_by { |run| fetched(run) }
      (1...runs.size).any? { |count| runs.first(count).sum { |run| reasons(run) } < count }
    end.keys
  end

  # @return [Array<String>] jobs that ran more often than once
  def repeated
    runs.select { |_, runs| runs.size > 1 }.keys
  end

  # @return [Array<String>] those of them that ran more often than their exceptions explain
  def repeated_by_faults
    runs.select { |_, runs| runs.size > 1 + runs.count(&:raised) }.keys
  end

  # @param processes [Array<String>]
  # @return [Array<String>] jobs that these have begun and not ended
  def running(processes)
    runs.select { |_, runs| runs.any? { |run| run.to.nil? && processes.include?(run.process) } }.keys
  end

  # @return [String] for people: figures first, then the faults, then each job that went wrong with its runs
  def to_s
    struck = faults.map { |fault| "#{fault.from} to #{fault.to}: #{fault.name} struck #{fault.target}" }
    wrong = (lost | unexplained).first(20).map { |job| "job #{job}: #{runs.fetch(job, []).map(&:to_a)}" }
    [figures, *struck, *wrong].join("\n")
  end

  private

  def figures
    "#{accepted.size} accepted, #{finished.size} finished, #{pending.uniq.size} pending, #{dead.size} dead, " \
      "#{lost.size} lost, #{repeated.size} ran again, #{unexplained.size} of them without a reason"
  end

  def took?(loss, job)
    run = runs.fetch(job, []).last
    return loss.until >= @reading.last_heard_of(job) - @slack if run.nil? || run.to

    struck = faults.any? { |fault| fault.target == run.process && fault.over?(run.from, loss.until + (2 * @slack)) }
    struck && loss.until >= run.from - @slack
  end

  # When at the earliest. A process that stood still, or was cut off, until it began the job may have fetched it
  # before: the run that begins meanwhile is the next one.
  def fetched(run)
    until_start = faults.select { |fault| fault.target == run.process && fault.over?(run.from - @slack, run.from) }
    [run.from, *until_start.map(&:from)].min
  end

  def reasons(run)
    from = run.from - @slack
    to = released_by(run)
    targets = [run.process, History::EVERYBODY]
    targets << History::NOBODY if run.raised
    struck = faults.any? { |fault| targets.include?(fault.target) && fault.over?(from, to) }
    (run.raised ? 1 : 0) + (struck ? 1 : 0)
  end

  def released_by(run)
    away = faults.select { |fault| fault.target == History::NOBODY }
    away.reduce((run.to || Float::INFINITY) + @slack) do |to, fault|
      fault.over?(run.from, to) ? [to, fault.until + @slack].max : to
    end
  end
end
