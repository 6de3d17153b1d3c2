# frozen_string_literal: true

require_relative "fault_proxy"
require_relative "sidekiq_forks"
require_relative "sidekiq_process"
require_relative "wait"

# The Sidekiq processes of a {World}, each behind a proxy of its own.
class Fleet
  APP = File.expand_path("fault_app.rb", __dir__)
  THREADS = 5
  # Seconds. Short, because most faults last longer than a heartbeat does.
  INTERVAL = 0.6
  TTL = 2.0

  # How jobs come to be in flight. Plain Sidekiq is the negative control.
  WAYS = {
    "fetch" => {},
    "middleware" => { "ASSURED_JOBS_FETCH" => "false" },
    "plain" => { "FAULTS_WAY" => "plain" }
  }.freeze

  # A Sidekiq process and its way to Redis.
  Member = Struct.new(:name, :process, :proxy)

  # @return [SidekiqForks] shared by all fleets
  def self.forks
    @forks ||= SidekiqForks.new.tap { |forks| at_exit { forks.close } }
  end

  # @param history [History]
  # @param way [String] key of {WAYS}
  # @param env [Hash{String => String}] for all processes
  # @param own [Hash{String => Hash}] further environment by instance id
  # @param user [String, nil] user info for the Redis URL, as in `user:password`
  def initialize(history, way: "fetch", env: {}, own: {}, user: nil)
    @history = history
    @way = way
    @env = { "ASSURED_JOBS_HEARTBEAT_INTERVAL" => INTERVAL.to_s, "ASSURED_JOBS_HEARTBEAT_TTL" => TTL.to_s }
           .merge(WAYS.fetch(way), env)
    @own = own
    @user = user
    @members = {}
    @booted = {}
  end

  # @return [Float] seconds that a heartbeat lasts
  def ttl
    @env.fetch("ASSURED_JOBS_HEARTBEAT_TTL").to_f
  end

  # @return [Float] seconds from one heartbeat to the next
  def interval
    @env.fetch("ASSURED_JOBS_HEARTBEAT_INTERVAL").to_f
  end

  # @return [Array<String>] of those that live
  def names
    @members.keys
  end

  # @param name [String]
  # @return [Member, nil]
  def [](name)
    @members[name]
  end

  # Starts a process; it is not ready yet.
  #
  # @param name [String] in the history. What stands before the first dot is the instance id: `a.2` can follow `a.1`.
  # @param port [Integer] of the Redis
  # @return [void]
  def boot(name, port)
    proxy = FaultProxy.new(port)
    url = @user ? proxy.url.sub("//", "//#{@user}@") : proxy.url
    id = name[/\A[^.]+/]
    env = @env.merge("FAULTS_HISTORY" => @history.path, "FAULTS_PROCESS" => name, "ASSURED_JOBS_INSTANCE_ID" => id)
    @booted[name] = launch(url, env, @own[id])
    @members[name] = Member.new(name, @booted[name], proxy)
  end

  # @param redis [Redis]
  # @return [void]
  def wait_until_registered(name, redis)
    process = @members.fetch(name).process
    Wait.wait_until("#{name} is registered\n#{process.log}", within: 30) do
      raise "#{name} ended at boot:\n#{process.log}" unless process.alive?

      redis.smembers("processes").any? { |identity| identity.include?(":#{process.pid}:") }
    end
  end

  # Ends a process the way a crash does.
  #
  # @return [void]
  def bury(name)
    member = @members.delete(name)
    member.process.kill
    member.proxy.close
  end

  # Leads everybody to another Redis.
  #
  # @param port [Integer]
  # @return [void]
  def lead_to(port)
    @members.each_value { |member| member.proxy.target = port }
  end

  # Ends all processes as a deploy does.
  #
  # @return [void]
  def stop
    processes = @members.values.map(&:process)
    processes.each { |process| process.signal(:TERM) }
    Wait.wait_until("all end\n#{logs}", within: 30) { processes.none?(&:alive?) }
  end

  # @return [void]
  def close
    names.each { |name| bury(name) }
  end

  # @return [String] what the processes had to say, but for what the jobs raised
  def logs
    @members.values.map do |member|
      "#{member.name}:\n#{member.process.log.lines.grep(/AssuredJobs|ERROR|FATAL/).last(40).join}"
    end.join("\n")
  end

  # @param folder [String] gets a file for each process that ever lived
  # @return [void]
  def keep_logs(folder)
    @booted.each { |name, process| File.write(File.join(folder, "#{name}.log"), process.log) }
  end

  private

  # What loads the gem and needs nothing else from the start is forked, which takes a tenth of a second.
  def launch(url, env, own)
    args = ["-c", THREADS.to_s]
    return Fleet.forks.start(env.merge("REDIS_URL" => url), ["-r", APP, *args]) if own.nil? && @way != "plain"

    SidekiqProcess.new(url, env: env.merge(own || {}), args:, app: APP)
  end
end
