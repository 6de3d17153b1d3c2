# frozen_string_literal: true

# What the screen shows at one moment, as lines of styled pieces.
class Frame
  UNICODE = Encoding.default_external == Encoding::UTF_8
  FULL, EMPTY = UNICODE ? %w[█ ░] : %w[# -]
  DOT = UNICODE ? " · " : ", "

  # @param scene [Scene]
  # @param columns [Integer]
  def initialize(scene, columns)
    @scene = scene
    @columns = columns
  end

  # @return [Array<Array<Array(String, Symbol)>>]
  def lines
    [
      [[" A Sidekiq process is killed. Its jobs come back.", :bold]],
      [],
      *progress,
      [],
      *instances,
      [],
      *wrapped(@scene.phase).map { |line| [[" #{line}", :bold]] },
      [],
      *interrupted
    ]
  end

  private

  def progress
    total = [@scene.jobs.size, 1].max
    label = format(" %<finished>2d of %<total>d finished   %<elapsed>4.1f s",
                   finished: @scene.finished, total:, elapsed: @scene.elapsed)
    width = (@columns - label.size - 2).clamp(10, 60)
    full = width * @scene.finished / total
    [
      [[" "], [FULL * full, :good], [EMPTY * (width - full), :dim], [label]],
      [[" #{["#{@scene.queued} queued", "#{in_flight} in flight", "#{orphans} orphans"].join(DOT)}"]]
    ]
  end

  def in_flight
    @scene.instances.reject(&:killed?).sum { |instance| instance.in_flight.size }
  end

  def orphans
    @scene.instances.select(&:killed?).sum { |instance| instance.in_flight.size }
  end

  def instances
    head = " INSTANCE  PID      STATE                             IN FLIGHT"
    [[[head, :dim]]] + @scene.instances.map do |instance|
      [
        [" #{instance.name.ljust(10)}#{instance.pid.to_s.ljust(9)}"],
        [instance.state.ljust(34), instance.killed? ? :bad : :good],
        *instance.in_flight.map { |job| ["#{job.label} ", instance.killed? || job.recovered? ? :warn : nil] }
      ]
    end
  end

  def interrupted
    return [] if @scene.interrupted.empty?

    [
      [[" Interrupted by the kill; times are seconds after it"]],
      [[" JOB   HAD RUN         QUEUED AGAIN   STARTED AGAIN         FINISHED", :dim]]
    ] + @scene.interrupted.map { |job| row(job) }
  end

  def row(job)
    again = @scene.second_run(job)
    [
      [" #{job.label.ljust(6)}#{had_run(job).ljust(16)}"],
      [after(job.requeued_at).ljust(15), :warn],
      [(again ? "#{after(again.started_at)} on #{again.instance}" : "").ljust(22)],
      [after(job.finished_at), :good]
    ]
  end

  def had_run(job)
    first = job.runs.first
    return "not yet" if first.nil? || first == @scene.second_run(job)

    "#{seconds(-@scene.after_kill(first.started_at))} of #{seconds(job.seconds)} s"
  end

  def after(time)
    time ? "+#{seconds(@scene.after_kill(time))}" : ""
  end

  def seconds(number)
    format("%.1f", number)
  end

  def wrapped(text)
    text.scan(/\S.{0,#{@columns - 3}}(?=\s|\z)|\S+/)
  end
end
