# frozen_string_literal: true

require_relative "../spec/support/sidekiq_process"

# A real Sidekiq process, and what {Observer} saw of it.
class Instance
  HEARTBEAT_INTERVAL = 1
  HEARTBEAT_TTL = 3

  attr_reader :name, :killed_at
  # @return [Array<JobHistory>] jobs in its in-flight record, also after its death
  attr_accessor :in_flight
  # @return [Float] seconds until its heartbeat expires; negative when it is gone
  attr_accessor :heartbeat_left
  # @return [Hash, nil] its part of `Sidekiq::AssuredJobs.get_instances_status`
  attr_accessor :status

  # @param name [String] instance id
  # @param concurrency [Integer]
  def initialize(name, concurrency)
    @name = name
    @in_flight = []
    @heartbeat_left = 0
    env = {
      "ASSURED_JOBS_INSTANCE_ID" => name,
      "ASSURED_JOBS_HEARTBEAT_INTERVAL" => HEARTBEAT_INTERVAL.to_s,
      "ASSURED_JOBS_HEARTBEAT_TTL" => HEARTBEAT_TTL.to_s
    }
    @process = SidekiqProcess.new(
      ENV.fetch("REDIS_URL"), env:, args: ["-c", concurrency.to_s, "-q", ENV.fetch("ASSURED_JOBS_NS")],
                              app: File.expand_path("app.rb", __dir__)
    )
  end

  def pid
    @process.pid
  end

  def wait_until_ready
    @process.wait_until_ready
  end

  # Sends SIGKILL, as the kernel does when memory runs out.
  #
  # @return [void]
  def kill
    @killed_at ||= Time.now.to_f
    @process.kill
  end

  # @return [void]
  # @raise [RuntimeError] when it ended by itself
  def check
    raise "#{name} ended by itself:\n#{@process.log}" unless killed? || @process.alive?
  end

  def killed?
    !killed_at.nil?
  end

  # @return [String] for a person
  def state
    return alive unless killed?
    return "KILLED, heartbeat ends in #{format("%.1f", heartbeat_left)} s" if heartbeat_left.positive?

    in_flight.any? ? "KILLED, heartbeat has ended" : "KILLED, no orphans left"
  end

  private

  def alive
    return "starting" unless status && status[:status] == "alive"

    format("alive, heartbeat %.1f s ago", [Time.now - status[:last_heartbeat], 0].max)
  end
end
