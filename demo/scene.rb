# frozen_string_literal: true

require "forwardable"
require_relative "observer"
require_relative "tally"

# How things stand in the demo: what the screen shows.
class Scene
  extend Forwardable

  # @return [Array<Instance>]
  attr_reader :instances
  # @return [Array<JobHistory>] in flight at the kill
  attr_reader :interrupted
  # @return [String] what is going on, for a person
  attr_accessor :phase

  # Jobs and their numbers, as last seen in Redis.
  def_delegators :@observer, :jobs, :queued, :finished, :watch

  def initialize
    @instances = []
    @interrupted = []
    @observer = Observer.new(@instances)
    @began = now
  end

  # Brings everything up to date.
  #
  # @return [void]
  # @raise [RuntimeError] when an instance ended by itself
  def look
    instances.each(&:check)
    @observer.look
  end

  # Kills an instance, and keeps what it had in flight.
  #
  # @param instance [Instance]
  # @return [void]
  def kill(instance)
    instance.kill
    look
    @killed_at = instance.killed_at
    @interrupted = instance.in_flight
  end

  # @param time [Float] unix time
  # @return [Float] seconds since the kill
  def after_kill(time)
    time - @killed_at
  end

  # @param job [JobHistory]
  # @return [JobHistory::Run, nil] the run that began after the kill
  def second_run(job)
    job.runs.find { |run| after_kill(run.started_at).positive? }
  end

  # @return [Float] seconds since the beginning
  def elapsed
    now - @began
  end

  # @return [Tally]
  def tally
    Tally.new(jobs, interrupted)
  end

  private

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
