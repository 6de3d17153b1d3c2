# frozen_string_literal: true

require "redis"
require_relative "../../bench/support/chaos_journal"
require_relative "command_proxy"
require_relative "four_jobs"
require_relative "wait"

# One life of the four jobs.
class OneLife
  APP = File.expand_path("every_step_app.rb", __dir__)
  # How long nothing may happen before a job that is nowhere counts as lost, in seconds.
  CALM = 0.7
  ENVIRONMENT = { "ASSURED_JOBS_HEARTBEAT_INTERVAL" => "0.4", "ASSURED_JOBS_HEARTBEAT_TTL" => "1.5" }.freeze

  # @!attribute step
  #   @return [CommandProxy::Step, nil] the command at which the process was to be killed
  # @!attribute killed
  #   @return [Boolean] whether it came to that
  # @!attribute counts
  #   @return [Hash{String => Integer}] its commands, by name
  # @!attribute lost
  #   @return [Array<String>] manners of the jobs that did not finish and are nowhere
  # @!attribute too_often
  #   @return [Array<String>] manners of the jobs that ran again without a reason
  Outcome = Struct.new(:step, :instant, :killed, :counts, :lost, :too_often, keyword_init: true) do
    # @return [String]
    def to_s
      "#{killed ? "killed #{instant} #{step}" : "not killed"}: lost #{lost.inspect}, too often #{too_often.inspect}"
    end
  end

  # @param server [RedisServer]
  # @param forks [SidekiqForks]
  # @param lane [Integer] decides the databases
  # @param env [Hash{String => String}] further settings of the gem
  def initialize(server, forks, lane, env)
    @server = server
    @forks = forks
    @databases = [lane * 2, (lane * 2) + 1]
    @env = ENVIRONMENT.merge(env)
  end

  # @param step [CommandProxy::Step, nil]
  # @param instant [Symbol, nil] `:before` or `:after`
  # @return [Outcome]
  def play(step, instant)
    open
    live(step, instant)
    recover
    outcome(step, instant)
  rescue Wait::TimedOut => e
    raise "#{step}, #{instant}: #{e.message}\n#{@victim&.log}\n#{@survivor&.log}"
  ensure
    close
  end

  private

  def open
    @redis = Redis.new(url: @server.url(@databases.first))
    @journal = ChaosJournal.new(@server.url(@databases.last))
    @databases.each { |database| Redis.new(url: @server.url(database)).tap(&:flushdb).close }
    @jobs = FourJobs.new(@redis)
    @proxy = CommandProxy.new(@server.port)
  end

  def close
    [@victim, @survivor].compact.each(&:kill)
    @proxy&.close
    @redis&.close
  end

  def live(step, instant)
    @victim = start("victim", "redis://127.0.0.1:#{@proxy.port}/#{@databases.first}")
    @proxy.arm(@victim.pid, step, instant)
    @jobs.supply
    told = []
    Wait.wait_until("the process ends", within: 30) do
      tell(told, :USR1) if @jobs.make_retries_due
      tell(told, :TERM) if only_last_is_left?
      !@victim.alive?
    end
  end

  def tell(told, signal)
    return if told.include?(signal)

    told << signal
    @victim.signal(signal)
  end

  def recover
    @survivor = start("survivor", @server.url(@databases.first))
    calm_since = nil
    Wait.wait_until("all is settled", within: 30) do
      @survivor.signal(:USR1) if @jobs.make_retries_due
      calm_since = nil unless settled?
      calm_since ||= now
      (settled? && @journal.counts("finished").size == FourJobs::MANNERS.size) || now - calm_since > CALM
    end
  end

  def start(name, url)
    env = { "REDIS_URL" => url, "CHAOS_JOURNAL" => @server.url(@databases.last), "CHAOS_PROCESS" => name }
    process = @forks.start(@env.merge(env), ["-r", APP, "-c", "3"])
    Wait.wait_until("sidekiq is ready", within: 20) do
      raise "sidekiq ended at boot:\n#{process.log}" unless process.alive?

      @redis.smembers("processes").any? { |identity| identity.include?(":#{process.pid}:") }
    end
    process
  end

  def only_last_is_left?
    last = FourJobs::MANNERS.index("last")
    @journal.running("victim") == [last] && @journal.counts("finished").size == FourJobs::MANNERS.size - 1
  end

  def settled?
    @jobs.at_rest? && @journal.running("survivor").empty?
  end

  def outcome(step, instant)
    started, raised, finished = %w[started raised finished].map { |what| @journal.counts(what) }
    too_often = started.select { |id, times| times > 1 + raised.fetch(id, 0) + reasons(id) }.keys
    Outcome.new(step:, instant:, killed: @proxy.killed, counts: @proxy.counts, too_often: names(too_often),
                lost: names(FourJobs::MANNERS.each_index.to_a - finished.keys))
  end

  # A job may run again for the one kill, or because its process was told to stop.
  def reasons(id)
    @proxy.killed || FourJobs::MANNERS[id] == "last" ? 1 : 0
  end

  def names(ids)
    ids.map { |id| FourJobs::MANNERS[id] }
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
