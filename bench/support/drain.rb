# frozen_string_literal: true

require_relative "helper_process"
require_relative "no_op_jobs"

# One real Sidekiq process drains queues full of jobs, once.
class Drain
  APP = File.expand_path("no_op_app.rb", __dir__)
  # Threads, connections and caches are there after so many jobs.
  WARM_UP = 1_000
  WEIGHTS = [3, 2, 1].freeze
  # Enough for the slowest: one thread that waits a millisecond for each reply.
  LIMIT = 600

  # What a process runs. `app` is the file that Sidekiq loads, `env` what it reads, `assured` whether the
  # payloads carry the flag, `fetcher` the class that must have fetched, nil where any will do.
  Variant = Struct.new(:name, :app, :env, :assured, :fetcher, keyword_init: true)

  # How it runs: `threads`, number of `queues`, milliseconds of `latency` to Redis, milliseconds of `work` per job.
  Setting = Struct.new(:threads, :queues, :latency, :work) do
    # @return [String]
    def to_s
      parts = [count(threads, "thread"), count(queues, "queue"), work.zero? ? "no-op" : "1 ms jobs"]
      parts << "#{latency} ms to Redis" unless latency.zero?
      parts.join(", ")
    end

    # @return [Hash{String => Integer}] names of queues and their weights
    def shares
      return { "default" => 1 } if queues == 1

      Array.new(queues) { |i| ["q#{i}", WEIGHTS[i] || 1] }.to_h
    end

    # @return [Integer] enough jobs for a second or two, not more
    def jobs(most)
      work.zero? && latency.zero? ? most : [most, threads * 1_000].min
    end

    private

    def count(number, noun)
      "#{number} #{noun}#{"s" unless number == 1}"
    end
  end

  Figures = Struct.new(:rate, :worker_cpu, :redis_cpu, :commands, :reads, :proxy_busy, keyword_init: true)

  # @param variant [Variant]
  # @param setting [Setting]
  # @param jobs [Integer] how many are counted, at most
  # @param log [Boolean] whether Sidekiq logs each job
  def initialize(variant, setting, jobs:, log:)
    @variant = variant
    @setting = setting
    @jobs = setting.jobs(jobs)
    @log = log
  end

  # @return [Figures] all but rate and share of the proxy are per job
  def run
    Bench.with_redis do |server|
      redis = Redis.new(url: server.url)
      job_class = @setting.work.zero? ? "NoOpJob" : "MillisecondJob"
      NoOpJobs.new(redis, assured: @variant.assured, queues: @setting.shares, job_class:).push(@jobs + WARM_UP)
      through_proxy(server) { |url| figures(result(redis, url)) }
    ensure
      redis&.close
    end
  end

  private

  def through_proxy(server)
    return yield(server.url) if @setting.latency.zero?

    proxy = HelperProcess.new("delay_proxy.rb", server.port.to_s, @setting.latency.to_s)
    figures = yield "redis://127.0.0.1:#{proxy.line}/0"
    figures.proxy_busy = proxy.report["busy"]
    figures
  end

  def result(redis, url)
    process = SidekiqProcess.new(url, env:, args:, app: @variant.app)
    result = Wait.wait_until("#{@variant.name} drains the queues\n#{process.log}", within: LIMIT) do
      redis.get("bench:result") || (process.alive? ? nil : raise("sidekiq ended:\n#{process.log}"))
    end
    verify(JSON.parse(result))
  ensure
    process&.kill
  end

  def verify(result)
    expected = @variant.fetcher
    return result if [nil, result["fetcher"]].include?(expected)

    raise "#{@variant.name} was to fetch through #{expected}, and did through #{result["fetcher"]}"
  end

  def env
    { "BENCH_FIRST" => WARM_UP.to_s, "BENCH_LAST" => (@jobs + WARM_UP).to_s, "BENCH_APP" => APP,
      "BENCH_GEM" => nil, "BENCH_LOG" => ("1" if @log) }.merge(@variant.env)
  end

  def args
    weighted = @setting.queues > 1
    @setting.shares.flat_map { |queue, weight| ["-q", weighted ? "#{queue},#{weight}" : queue] } +
      ["-c", @setting.threads.to_s]
  end

  def figures(result)
    jobs = @jobs.to_f
    # Of the looks for the result, so many came while jobs ran.
    looks = result["seconds"] / 0.02
    Figures.new(rate: jobs / result["seconds"], worker_cpu: result["cpu"] / jobs * 1e6,
                redis_cpu: result["redis_cpu"] / jobs * 1e6,
                commands: (result["commands"] - looks) / jobs, reads: (result["reads"] - looks) / jobs)
  end
end
