# frozen_string_literal: true

require "timeout"

RSpec.describe "The engine, seen from Ruby" do
  let(:server) { RedisServer.new }
  let(:engine) { start_engine }

  before { AnySidekiq.redis = { url: server.url } }

  after do
    @engines&.each { |running| running.stop(0.2) }
    server.remove
  end

  def start_engine(**settings)
    config = Sidekiq::AssuredJobs::Configuration.new(environment: {})
    settings = { heartbeat_interval: 0.5, heartbeat_ttl: 2 }.merge(settings)
    settings.each { |name, value| config.public_send(:"#{name}=", value) }
    engine = Sidekiq::AssuredJobs::Native::Engine.start(Sidekiq::AssuredJobs::EngineSettings.of(config))
    (@engines ||= []) << engine
    engine.instance_id(2)
    engine
  end

  # Tracks a job and waits for its record, as the middleware does.
  def track(engine, jid, queue, payload)
    engine.track(jid, queue, payload).tap { |attempt| engine.await_record(attempt) }
  end

  def connection
    Redis.new(url: server.url)
  end

  def log_of(engine)
    lines = Queue.new
    Thread.new do
      while (events = engine.next_events)
        events.each { |_, severity, text| lines << [severity, text] }
      end
    end
    lines
  end

  context "while Redis is away" do
    before do
      engine
      server.stop
    end

    it "lets Timeout interrupt a wait" do
      expect { Timeout.timeout(0.2) { track(engine, "a", "q", "{}") } }.to raise_error(Timeout::Error)
    end

    it "lets Thread#raise and Thread#kill interrupt a wait, and runs ensure" do
      ensured = Queue.new
      threads = Array.new(2) do
        Thread.new do
          Thread.current.report_on_exception = false
          track(engine, "a", "q", "{}")
        ensure
          ensured << true
        end
      end
      wait_until("both wait") { engine.in_flight == 2 }
      threads.first.raise(IOError)
      threads.last.kill
      expect { threads.first.join }.to raise_error(IOError)
      threads.last.join
      expect(ensured.size).to eq(2)
    end

    it "lets other threads run, and the job after the timeout; the record follows" do
      impatient = start_engine(track_timeout: 0.2)
      attempt = track(impatient, "late", "q", "{\"queue\":\"q\"}")
      expect(impatient.in_flight).to eq(1)
      server.start

      client = connection
      wait_until("it is recorded") { client.get(key("job:late")) == "{\"queue\":\"q\"}" }
      impatient.release(attempt)
      wait_until("it is released") { client.keys(key("job:*")).empty? }
    end

    it "logs an outage once, and its end" do
      lines = log_of(engine)
      3.times { |n| Timeout.timeout(0.3) { track(engine, n.to_s, "q", "{}") } rescue nil } # rubocop:disable Style/RescueModifier
      server.start
      seen = []
      wait_until("its end is logged") { (seen << lines.pop).last.last.start_with?("Redis is back after") }
      expect(seen.count { |severity, _| severity == :error }).to eq(1)
    end
  end

  it "writes its records anew when Redis comes back empty" do
    payload = "{\"jid\":\"kept\",\"queue\":\"q\"}"
    track(engine, "kept", "q", payload)
    server.stop
    server.start
    client = connection

    wait_until("it is recorded again", within: 5) { client.get(key("job:kept")) == payload }
    expect(client.smembers(key("jobs:#{engine.instance_id(0)}"))).to eq(["kept"])
    expect(client.hkeys(key("instances"))).to eq([engine.instance_id(0)])
  end

  it "puts back what is left in flight when it stops, and leaves no key" do
    track(engine, "left", "low", "{\"jid\":\"left\"}")

    expect(engine.stop(2)).to eq(0)
    expect(connection.lrange("queue:low", 0, -1)).to eq(["{\"jid\":\"left\"}"])
    expect(connection.keys(key("*")) - [key("assured_classes")]).to eq([key("epoch")])
  end

  it "recovers nobody where auto_recovery_enabled is false" do
    idle = start_engine(auto_recovery_enabled: false)
    client = connection
    client.sadd(key("jobs:dead"), ["a"])
    client.hset(key("instances"), "dead", "{}")
    client.set(key("job:a"), "{\"queue\":\"q\"}")
    beat = client.get(key("instance:#{idle.instance_id(0)}"))
    wait_until("some intervals have passed", within: 5) do
      client.get(key("instance:#{idle.instance_id(0)}")).to_f > beat.to_f + 2
    end

    expect(client.exists?(key("job:a"))).to be(true)
    expect(idle.sweep).to eq([1, 0])
  end

  context "in a forked child" do
    def in_child
      reader, writer = IO.pipe
      pid = fork do
        writer.write(yield)
      rescue StandardError => e
        writer.write("#{e.class}: #{e.message}")
      ensure
        writer.close
        exit!(0)
      end
      writer.close
      Timeout.timeout(10) { reader.read }
    ensure
      Process.wait(pid)
    end

    it "refuses to be used" do
      engine
      expect(in_child { track(engine, "a", "q", "{}") }).to match(
        /\ASidekiq::AssuredJobs::ForkError: cannot track: this engine belongs to process #{Process.pid}, /
      )
    end

    it "is left alone by a child that ends like any other process" do
      output = run_ruby(<<~RUBY, url: server.url)
        require "sidekiq-assured-jobs"
        Sidekiq.logger.level = Logger::FATAL
        engine = Sidekiq::AssuredJobs.engine
        engine.await_record(engine.track("a", "q", "{}"))
        3.times { Process.wait(fork { GC.start }) }
        p $?.success?, engine.flush(5), Sidekiq.redis { |redis| redis.get("sidekiq_assured_jobs:job:a") }.nil?
      RUBY
      expect(output.split).to eq(%w[true true false])
      # The parent's own exit hands the job over; a child's must not.
      expect(connection.lrange("queue:q", 0, -1)).to eq(["{}"])
    end

    it "is replaced by one of the child's own" do
      own = in_child do
        AnySidekiq.redis = { url: server.url }
        Sidekiq::AssuredJobs::Native::Engine.start(
          Sidekiq::AssuredJobs::EngineSettings.of(Sidekiq::AssuredJobs::Configuration.new(environment: {}))
        ).instance_id(5)
      end
      expect(own).to match(/:\d+:\h+\z/)
      expect(own).not_to eq(engine.instance_id(0))
    end
  end
end
