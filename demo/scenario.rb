# frozen_string_literal: true

require_relative "instance"
require_relative "scene"

# What happens in the demo, in its order.
class Scenario
  JOBS = 40
  # The kill comes when this many are finished and the victim has enough in flight.
  FINISHED_AT_KILL = JOBS / 3
  IN_FLIGHT_AT_KILL = 5
  # Seconds. A job this close to its end might finish before the kill.
  MARGIN = 0.3
  # Seconds for everything.
  LIMIT = 90
  # Seconds between two looks.
  PAUSE = 0.1

  # @return [Scene]
  attr_reader :scene

  # @param view [Screen, Lines]
  # @param interrupts [Interrupts]
  def initialize(view, interrupts)
    @view = view
    @interrupts = interrupts
    @scene = Scene.new
  end

  # @return [void]
  def run
    start_instances
    enqueue
    kill_one
    finish
  end

  private

  def start_instances
    say "Starting two Sidekiq processes"
    { "sidekiq-a" => 6, "sidekiq-b" => 3 }.each do |name, concurrency|
      @interrupts.defer { scene.instances << Instance.new(name, concurrency) }
      @interrupts.check
    end
    scene.instances.each(&:wait_until_ready)
  end

  def enqueue
    say "#{victim.name} will be killed when #{FINISHED_AT_KILL} jobs are finished"
    1.upto(JOBS) do |number|
      seconds = 1 + (number * 7 % 21 / 10.0)
      scene.watch(JobHistory.new(DemoJob.perform_async(number, seconds), number, seconds))
    end
  end

  def kill_one
    watch_until do
      scene.finished >= FINISHED_AT_KILL && victim.in_flight.count { |job| in_the_middle?(job) } >= IN_FLIGHT_AT_KILL
    end
    return if timed_out?

    scene.kill(victim)
    say "#{victim.name} got SIGKILL. Its heartbeat ends within #{Instance::HEARTBEAT_TTL} s; then others may take over"
    watch_until { scene.interrupted.all?(&:recovered?) }
    say recovered unless timed_out?
  end

  def recovered
    latest = scene.interrupted.map { |job| scene.after_kill(job.requeued_at) }.max
    format("All %<jobs>d interrupted jobs were queued again %<seconds>.1f s after the kill",
           jobs: scene.interrupted.size, seconds: latest)
  end

  def finish
    watch_until { scene.jobs.all?(&:finished?) && scene.instances.all? { |instance| instance.in_flight.empty? } }
    say timed_out? ? "Not done within #{LIMIT} s" : scene.tally.explanation
  end

  def victim
    scene.instances.first
  end

  def in_the_middle?(job)
    job.runs.any? && job.ran(Time.now.to_f).between?(MARGIN, job.seconds - MARGIN)
  end

  def watch_until
    loop do
      scene.look
      @view.update(scene)
      return if timed_out? || yield

      sleep PAUSE
    end
  end

  def say(text)
    scene.phase = text
    @view.update(scene)
  end

  def timed_out?
    scene.elapsed > LIMIT
  end
end
