# frozen_string_literal: true

require_relative "history"

# The events of a {History} put together: runs of jobs, faults, and the story of one job.
class HistoryReading
  # One run of a job; `to` is nil if it did not end.
  Run = Struct.new(:process, :from, :to, :raised)
  # A fault and whom it struck; `to` is nil if it was not undone.
  Fault = Struct.new(:name, :target, :from, :to) do
    # @param event [History::Event] of kind `healed`
    # @return [Boolean]
    def undone_by?(event)
      to.nil? && name == event.process && target == event.subject
    end

    # @return [Float] infinite if it was not undone
    def until
      to || Float::INFINITY
    end

    # @return [Boolean] whether it lay upon the time between two instants
    def over?(from, to)
      self.from <= to && from <= self.until
    end
  end

  OF_FAULTS = %i[struck healed].freeze
  # Seconds before a job's first event and after its last one from which its story tells the faults.
  AROUND = 15

  # @param events [Array<History::Event>]
  def initialize(events)
    @events = events
    @of_faults, @of_jobs = events.partition { |event| OF_FAULTS.include?(event.kind) }
  end

  # @param kind [Symbol]
  # @return [Array<String>] each as often as it occurs
  def subjects(kind)
    @events.select { |event| event.kind == kind }.map(&:subject)
  end

  # @return [Hash{String => Array<Run>}] by job
  def runs
    @runs ||= @of_jobs.each_with_object(Hash.new { |runs, job| runs[job] = [] }) do |event, runs|
      case event.kind
      when :started then runs[event.subject] << Run.new(event.process, event.at)
      when :raised, :finished then finish(runs[event.subject], event)
      end
    end
  end

  # @return [Array<Fault>] in the order in which they struck
  def faults
    @faults ||= @of_faults.each_with_object([]) do |event, faults|
      if event.kind == :struck
        faults << Fault.new(event.process, event.subject, event.at)
      else
        faults.reverse.find { |fault| fault.undone_by?(event) }&.to = event.at
      end
    end
  end

  # @param job [String]
  # @return [Float, nil] when anything was heard of it last
  def last_heard_of(job)
    @last ||= @of_jobs.to_h { |event| [event.subject, event.at] }
    @last[job]
  end

  # What became of a job, and the faults around it.
  #
  # @param job [String]
  # @return [String] a line for each event; times count from the first event of the history
  def story(job)
    own = @of_jobs.select { |event| event.subject == job }
    from, to = own.map(&:at).minmax
    around = faults.select { |fault| fault.over?(from - AROUND, to + AROUND) }
    lines = own.map { |event| [event.at, "  #{event.kind} by #{event.process}"] } + around.flat_map { |it| tell(it) }
    lines.sort.map { |at, words| timed(at, words) }.join("\n")
  end

  private

  def finish(runs, event)
    run = runs.find { |candidate| candidate.process == event.process && candidate.to.nil? }
    return unless run

    run.to = event.at
    run.raised = event.kind == :raised
  end

  def timed(at, words)
    format("%<at>9.3f  %<words>s", at: at - @events.first.at, words:)
  end

  def tell(fault)
    struck = [fault.from, "#{fault.name} strikes #{fault.target}"]
    fault.to ? [struck, [fault.to, "#{fault.name} of #{fault.target} is over"]] : [struck]
  end
end
