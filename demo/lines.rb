# frozen_string_literal: true

# The demo for a pipe or a log: plain lines, one for each change, and how things stand once a second.
class Lines
  # @param out [IO]
  def initialize(out)
    @out = out
    @told = {}
  end

  # @param scene [Scene]
  # @return [void]
  def update(scene)
    once([:phase, scene.phase]) { line(scene, scene.phase) }
    scene.instances.each { |instance| tell_instance(scene, instance) }
    scene.interrupted.each { |job| tell_interrupted(scene, job) }
    once([:second, scene.elapsed.to_i]) { line(scene, status(scene)) } if scene.finished < scene.jobs.size
  end

  # @return [void]
  def close; end

  private

  def tell_instance(scene, instance)
    once([instance, :started]) { line(scene, "#{instance.name} is process #{instance.pid}") }
    return unless instance.killed?

    once([instance, :killed]) do
      line(scene, "#{instance.name} (#{instance.pid}) KILLED with #{scene.interrupted.size} jobs in flight: " \
                  "#{scene.interrupted.map(&:label).join(" ")}")
    end
  end

  def tell_interrupted(scene, job)
    again = scene.second_run(job)
    { "queued again" => job.requeued_at, "started again on #{again&.instance}" => again&.started_at,
      "finished" => job.finished_at }.each do |what, at|
      next unless at

      once([job, what]) { line(scene, "#{job.label} #{what} #{seconds(scene.after_kill(at))} s after the kill") }
    end
  end

  def status(scene)
    "finished #{scene.finished}/#{scene.jobs.size} · queued #{scene.queued} · " +
      scene.instances.map { |each| "#{each.name} #{each.state}, #{each.in_flight.size} in flight" }.join(" · ")
  end

  def once(what)
    return if @told[what]

    @told[what] = true
    yield
  end

  def line(scene, text)
    @out.puts("[#{seconds(scene.elapsed).rjust(5)} s] #{text}")
    @out.flush
  end

  def seconds(number)
    format("%.1f", number)
  end
end
