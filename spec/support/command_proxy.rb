# frozen_string_literal: true

require_relative "fault_proxy"

# Stands between one process and Redis, counts the commands that matter to a job, and kills the process at one of
# them: before Redis gets it, or after Redis has executed it and before the process learns so.
class CommandProxy < FaultProxy
  # No job depends on them: heartbeats up to the last one, and Sidekiq's statistics.
  UNCOUNTED = /\Aheartbeat: (?!retire)| stat:/

  # @return [Boolean] whether the process was killed
  attr_reader :killed

  # @param target [Integer] port of the Redis
  def initialize(target)
    super(target) { |step, instant| kill if @armed[1..] == [step, instant] }
  end

  # Begins to count.
  #
  # @param pid [Integer] process to kill
  # @param step [Step, nil] at which command; at none if nil
  # @param instant [Symbol] `:before` or `:after` Redis executes it
  # @return [void]
  def arm(pid, step, instant)
    @mutex.synchronize { @armed = [pid, step, instant] }
  end

  private

  def counts?(name)
    @armed && !@killed && !UNCOUNTED.match?(name)
  end

  # The other connections end with the process, as they would without a proxy.
  def kill
    @mutex.synchronize { @killed = true }
    Process.kill(:KILL, @armed.first)
    cut
    :cut
  end
end
