# frozen_string_literal: true

RSpec.describe "A process that boots" do
  # @return [Hash{String => Integer}] how many there are of each role
  def our_connections
    redis.client(:list).filter_map { |client| client["name"][/\Asidekiq-assured-jobs:(.+)/, 1] }.tally
  end

  it "has one hook and one set of threads, however often it was configured" do
    app = File.expand_path("../support/app_configured_often.rb", __dir__)
    start_sidekiq(app:)

    wait_until("hooks are counted") { redis.exists?("hooks") }
    expect(JSON.parse(redis.get("hooks"))).to eq("middleware" => 1, "startup" => 1)
    push("AssuredJob", "a", 0)
    wait_until("a job has run") { finished.key?("a") }
    wait_until("threads are connected") { (%w[heartbeat sweep watch] - our_connections.keys).empty? }
    # How many fetch depends on how far away Redis seems to be.
    expect(our_connections.except("fetch").values).to all(eq(1))
    expect(registered.size).to eq(1)
  end

  it "opens nothing when it is a web or console process" do
    output = run_ruby(<<~RUBY)
      require "sidekiq-assured-jobs"
      class ChargeCard
        include Sidekiq::Worker
        include Sidekiq::AssuredJobs::Worker
      end
      Sidekiq.logger.level = Logger::FATAL
      Sidekiq::AssuredJobs.configure { |config| config.heartbeat_interval = 1 }
      sockets = Dir.children("/proc/self/fd").count { |fd| File.socket?("/proc/self/fd/\#{fd}") }
      seen = [Thread.list.size, Dir.children("/proc/self/task").size, sockets]
      ChargeCard.perform_async
      seen << Sidekiq.redis { |redis| redis.client(:list).to_s.scan("sidekiq-assured-jobs:").size }
      puts "seen: \#{seen}"
    RUBY
    # One Ruby thread; the interpreter may run a timer thread of its own.
    expect(output).to match(/^seen: \[1, [12], 0, 0\]$/)
    expect(own_keys).to be_empty
  end

  it "takes blank variables for those that are not set, as Compose makes of them" do
    blank = Sidekiq::AssuredJobs::Configuration::SETTINGS.filter_map(&:env).to_h { |name| [name, ""] }
    process = start_sidekiq(env: blank)
    push("AssuredJob", "a", 0)
    wait_until("a job has run") { finished.key?("a") }
    expect(process.log).not_to include("ConfigurationError")
  end

  {
    "a variable of the wrong type" => [{ "ASSURED_JOBS_HEARTBEAT_INTERVAL" => "often" },
                                       /ASSURED_JOBS_HEARTBEAT_INTERVAL is "often"/],
    "a TTL below the interval" => [{ "ASSURED_JOBS_HEARTBEAT_TTL" => "0.1" }, /ASSURED_JOBS_HEARTBEAT_TTL is 0.1/],
    "a Redis option that cannot be honoured" =>
      [{ "ASSURED_JOBS_REDIS_OPTIONS" => '{"nodes":["redis://127.0.0.1"]}' }, /redis_options: nodes is not supported/]
  }.each do |what, (env, message)|
    it "ends with a ConfigurationError given #{what}" do
      process = spawn_sidekiq(env:)
      expect(process.wait_for_exit).not_to be_success
      expect(process.log).to match(/ConfigurationError/).and match(message)
    end
  end

  context "when the Redis of redis_options rejects the password" do
    let(:locked) { RedisServer.new("--requirepass", "right") }

    after { locked.remove }

    it "goes on as Sidekiq does, says so once, and works as soon as it is let in" do
      options = JSON.generate(url: locked.url, password: "wrong")
      process = spawn_sidekiq(env: { "ASSURED_JOBS_REDIS_OPTIONS" => options, "ASSURED_JOBS_TRACK_TIMEOUT" => "0.2" })
      push("AssuredJob", "a", 0)
      wait_until("the job runs all the same") { finished.key?("a") }
      expect(process.log.scan("Redis fails").size).to eq(1)
      expect(process.log).to match(/Redis fails \(connect: .*(WRONGPASS|invalid username-password|authentication)/i)

      admin = Redis.new(url: locked.url, password: "right")
      admin.config(:set, "requirepass", "wrong")
      wait_until("it has registered", within: 20) { admin.hlen(key("instances")) == 1 }
      admin.close
    end
  end

  it "goes on when the host of redis_options is unknown, and names it" do
    options = JSON.generate(host: "no-such-host.invalid", port: 6379)
    process = spawn_sidekiq(env: { "ASSURED_JOBS_REDIS_OPTIONS" => options, "ASSURED_JOBS_TRACK_TIMEOUT" => "0.2" })
    push("AssuredJob", "a", 0)

    wait_until("the job runs all the same", within: 30) { finished.key?("a") }
    wait_until("it is logged") { process.log.include?("Redis fails") }
    expect(process.log.scan("Redis fails").size).to eq(1)
    expect(process.log).to include("no-such-host.invalid:6379")
  end
end
