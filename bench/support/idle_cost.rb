# frozen_string_literal: true

# What a process that has nothing to do costs: processor time, its own and that of Redis, and commands.
class IdleCost
  # Per second, processor times in milliseconds.
  Figures = Struct.new(:cpu, :commands, :redis_cpu, keyword_init: true)

  NANOSECONDS = 1e9

  # @param redis [Redis]
  # @param pid [Integer]
  def initialize(redis, pid)
    @redis = redis
    @pid = pid
  end

  # @param seconds [Integer] how long it is watched
  # @return [Figures]
  def watch(seconds)
    before = look
    sleep seconds
    after = look
    passed, cpu, commands, redis_cpu = after.zip(before).map { |now, earlier| now - earlier }
    # The second look is the one command that is not the process's.
    Figures.new(cpu: cpu * 1000 / passed, commands: (commands - 1) / passed, redis_cpu: redis_cpu * 1000 / passed)
  end

  private

  def look
    info = @redis.info
    [Process.clock_gettime(Process::CLOCK_MONOTONIC), cpu, info["total_commands_processed"].to_i,
     info["used_cpu_user"].to_f + info["used_cpu_sys"].to_f]
  end

  # The ticks of /proc/PID/stat are too coarse for this; the scheduler counts nanoseconds per thread.
  def cpu
    Dir.glob("/proc/#{@pid}/task/*/schedstat").sum { |file| File.read(file).to_i } / NANOSECONDS
  end
end
