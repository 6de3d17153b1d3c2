# frozen_string_literal: true

require_relative "history"

# Judges a {History} by two promises: no accepted job is lost (S1), and none runs again without a reason (S2).
#
# A run is a reason for one more when it raised, or when a fault struck its process while the job was in hand: from
# the fetch, shortly before the start, to the release, shortly after the end. While Redis is away a release waits, so
# a job stays in hand until Redis is back. A run that raised while Redis could not be reached is a reason for two: where
# the reply is lost to the command that stores the retry, nobody knows that there is one, and the job goes back, too.
class HistoryCheck
  # One run of a job; `to` is nil if it did not end.
  Run = Struct.new(:process, :from, :to, :raised)
  # A fault and whom it struck; `to` is nil if it was not undone.
  Fault = Struct.new(:name, :target, :from, :to) do
    # @param event [History::Event] of kind `healed`
    # @return [Boolean]
    def undone_by?(event)
      to.nil? && name == event.process && target == event.subject
    end

    # @return [Boolean] whether it lay upon the time between two instants
    def over?(from, to)
      self.from <= to && from <= (self.to || Float::INFINITY)
    end
  end

  # Seconds from a fetch to the start of its job, and from its end to its release; also what a process needs to
  # learn that a fault is over.
  SLACK = 1.0

  # @param events [Array<History::Event>]
  # @param pending [Array<String>] jobs that are queued, scheduled, to be retried, or in flight
  # @param dead [Array<String>] jobs in Sidekiq's Dead set
  # @param slack [Numeric] see {SLACK}
  def initialize(events, pending: [], dead: [], slack: SLACK)
    @events = events
    @pending = pending
    @dead = dead
    @slack = slack
  end

  # @return [Array<String>] jobs that Redis accepted and that are neither done, nor dead, nor pending
  def lost
    @lost ||= unfinished - @pending
  end

  # @return [Array<String>] jobs that Redis accepted and that are neither done nor dead
  def unfinished
    @unfinished ||= subjects(:accepted) - subjects(:finished) - @dead
  end

  # @return [Array<String>] those of them that some process had begun to run
  def lost_after_start
    lost & subjects(:started)
  end

  # @return [Array<String>] jobs of which a run was followed by another one without a reason
  def unexplained
    @unexplained ||= runs.select do |_, runs|
      (1...runs.size).any? { |count| runs.first(count).sum { |run| reasons(run) } < count }
    end.keys
  end

  # @return [Array<String>] jobs that ran more often than once
  def repeated
    runs.select { |_, runs| runs.size > 1 }.keys
  end

  # @param processes [Array<String>]
  # @return [Array<String>] jobs that these have begun and not ended
  def running(processes)
    runs.select { |_, runs| runs.any? { |run| run.to.nil? && processes.include?(run.process) } }.keys
  end

  # @return [Hash{String => Array<Run>}] by job
  def runs
    @runs ||= @events.each_with_object(Hash.new { |runs, job| runs[job] = [] }) do |event, runs|
      case event.kind
      when :started then runs[event.subject] << Run.new(event.process, event.at)
      when :raised, :finished then finish(runs[event.subject], event)
      end
    end
  end

  # @return [Array<Fault>] in the order in which they struck
  def faults
    @faults ||= @events.each_with_object([]) do |event, faults|
      case event.kind
      when :struck then faults << Fault.new(event.process, event.subject, event.at)
      when :healed then faults.reverse.find { |fault| fault.undone_by?(event) }&.to = event.at
      end
    end
  end

  # @return [String] for people: figures first, then each job that went wrong with its runs
  def to_s
    struck = faults.map { |fault| "#{fault.from} to #{fault.to}: #{fault.name} struck #{fault.target}" }
    wrong = (lost | unexplained).first(20).map { |job| "job #{job}: #{runs.fetch(job, []).map(&:to_a)}" }
    [figures, *struck, *wrong].join("\n")
  end

  private

  def figures
    "#{subjects(:accepted).size} accepted, #{subjects(:finished).uniq.size} finished, #{@pending.uniq.size} pending, " \
      "#{@dead.size} dead, #{lost.size} lost, #{repeated.size} ran again, #{unexplained.size} of them without a reason"
  end

  def subjects(kind)
    @events.select { |event| event.kind == kind }.map(&:subject)
  end

  def finish(runs, event)
    run = runs.find { |candidate| candidate.process == event.process && candidate.to.nil? }
    return unless run

    run.to = event.at
    run.raised = event.kind == :raised
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
      fault.over?(run.from, to) ? [to, (fault.to || Float::INFINITY) + @slack].max : to
    end
  end
end
