# frozen_string_literal: true

RSpec.describe Sidekiq::AssuredJobs do
  let(:middleware) { described_class::Middleware.new }
  let(:job) do
    { "class" => "AnyJob", "args" => [[], 12_345_678_901_234_567_890], "jid" => "jid-1", "queue" => "low",
      "assured_jobs" => true }
  end

  around do |example|
    before = described_class.configuration
    described_class.instance_variable_set(:@configuration, before.dup)
    example.run
  ensure
    described_class.stop
    described_class.instance_variable_set(:@configuration, before)
  end

  describe ".configure" do
    it "keeps what was set, readable on the module" do
      described_class.configure do |config|
        config.namespace = "mine"
        config.heartbeat_interval = 1
        config.heartbeat_ttl = 3
      end
      described_class.configure { |config| config.recovery_lock_ttl = 10 }

      expect(described_class).to have_attributes(
        namespace: "mine", heartbeat_interval: 1, heartbeat_ttl: 3, recovery_lock_ttl: 10
      )
      expect(described_class.namespaced_key("jobs:a")).to eq("mine:jobs:a")
    end

    it "changes nothing when one setting is refused" do
      expect do
        described_class.configure do |config|
          config.namespace = "mine"
          config.heartbeat_ttl = 1
        end
      end.to raise_error(described_class::ConfigurationError, /heartbeat_ttl/)
      expect(described_class.namespace).to eq("sidekiq_assured_jobs")
    end

    it "can be done through the module's own writers, too" do
      described_class.namespace = "direct"
      expect(described_class.configuration.namespace).to eq("direct")
    end
  end

  describe "the middleware by itself" do
    it "has the job in flight during the block, and released after it" do
      result = middleware.call(Object.new, job, "low") do
        id = described_class.instance_id
        expect(redis.smembers(key("jobs:#{id}"))).to eq(["jid-1"])
        expect(redis.get(key("job:jid-1"))).to eq(JSON.generate(job))
        :done
      end

      expect(result).to eq(:done)
      expect(in_flight).to be_empty
      expect(redis.exists?(key("job:jid-1"))).to be(false)
    end

    it "releases a job that raised, and lets the error through" do
      expect { middleware.call(Object.new, job, "low") { raise IOError, "broken" } }.to raise_error(IOError, "broken")
      expect(in_flight).to be_empty
    end

    it "holds the same jid twice, and releases each by itself" do
      middleware.call(Object.new, job, "low") do
        middleware.call(Object.new, job.merge("args" => [2]), "low") { expect(in_flight.size).to eq(2) }
        expect(in_flight).to eq(["jid-1"])
        expect(redis.get(key("job:jid-1"))).to eq(JSON.generate(job))
      end
      expect(in_flight).to be_empty
    end

    it "only yields for a job that is not assured" do
      expect(middleware.call(Object.new, job.merge("assured_jobs" => false), "low") { in_flight }).to be_empty
      expect(described_class.running_engine).to be_nil
    end

    it "only yields in Sidekiq's testing modes" do
      stub_const("Sidekiq::Testing", Module.new do
        def self.fake? = true
        def self.inline? = false
      end)
      middleware.call(Object.new, job, "low") { nil }
      expect(described_class.running_engine).to be_nil
    end

    [
      "plain", "with spaces", "new\nline", "<script>", "a*[b]?", "ünïcode", "\u0000nul", "job:x", "'; FLUSHALL"
    ].each do |hostile|
      it "takes #{hostile.inspect} as jid and queue for data" do
        odd = job.merge("jid" => hostile, "queue" => hostile)
        middleware.call(Object.new, odd, hostile) do
          expect(in_flight.map(&:b)).to eq([hostile.b])
          expect(redis.get(key("job:#{hostile}")).b).to eq(JSON.generate(odd).b)
        end
        expect(in_flight).to be_empty
      end
    end
  end

  describe ".reenqueue_orphans!" do
    it "recovers at once what dead instances left, and says how many" do
      seed_orphans("dead:1", payloads(%w[a b], queue: "low"))
      seed_orphans("dead:2", payloads(%w[c], queue: "low"))
      redis.set(key("instance:alive"), Time.now.to_f)
      seed_orphans("alive", payloads(%w[d], queue: "low"))

      expect(described_class.reenqueue_orphans!).to eq(3)
      expect(queued("low").map { |queued| queued["jid"] }).to match_array(%w[a b c])
      expect(in_flight).to eq(["d"])
      expect(described_class.reenqueue_orphans!).to eq(0)
    end

    it "leaves no thread, no connection and no key behind" do
      threads = Thread.list.size
      seed_orphans("dead", payloads(%w[a]))
      described_class.reenqueue_orphans!

      expect(Thread.list.size).to eq(threads)
      wait_until("connections are closed") do
        redis.client(:list).none? { |client| client["name"].start_with?("sidekiq-assured-jobs:") }
      end
      expect(own_keys).to contain_exactly(key("verdict:dead"), key("stats"))
    end

    it "raises when Redis cannot be asked" do
      described_class.redis_options = { host: "127.0.0.1", port: 1 }
      expect { described_class.reenqueue_orphans! }.to raise_error(described_class::ConnectionError, /refused/)
    end
  end

  describe "what consoles and web pages ask" do
    before do
      seed_orphans("dead:1", payloads(%w[a]).merge("bad" => "{"))
      redis.set(key("instance:alive:1"), Time.now.to_f)
      seed_orphans("alive:1", payloads(%w[b]))
    end

    it "lists the orphans with the instance they belong to" do
      orphans = described_class.get_orphaned_jobs_info

      expect(orphans.map { |orphan| orphan["jid"] }).to contain_exactly("a", "bad")
      expect(orphans).to all(include("instance_id" => "dead:1", "orphaned_duration" => be > 0, "orphaned_at" => Float))
      expect(orphans.find { |orphan| orphan["jid"] == "a" }).to include("class" => "AssuredJob", "args" => ["a", 0])
      expect(orphans.find { |orphan| orphan["jid"] == "bad" }).to include("payload" => "{")
    end

    it "tells who lives and who died" do
      expect(described_class.get_instances_status).to match(
        "alive:1" => { status: "alive", last_heartbeat: be_within(5).of(Time.now), in_flight_job_count: 1 },
        "dead:1" => { status: "dead", last_heartbeat: be_within(50).of(Time.now.to_f), orphaned_job_count: 2 }
      )
    end

    it "finds one job by its jid, wherever it is in flight" do
      expect(described_class.get_orphaned_job_by_jid("a")).to include("jid" => "a", "instance_id" => "dead:1")
      expect(described_class.get_orphaned_job_by_jid("b")).to include("jid" => "b", "instance_id" => "alive:1")
      expect(described_class.get_orphaned_job_by_jid("nobody")).to be_nil
    end
  end

  describe ".redis_sync" do
    it "yields Sidekiq's own connection" do
      described_class.redis_sync { |connection| connection.set("here", 1) }
      expect(redis.get("here")).to eq("1")
    end

    it "yields a connection to the Redis of redis_options" do
      described_class.redis_options = { url: redis_server.url(3) }
      described_class.redis_sync { |connection| connection.set("there", 1) }

      expect(redis.get("there")).to be_nil
      redis.select(3)
      expect(redis.get("there")).to eq("1")
    end
  end

  describe "redis_options that name another database" do
    let(:other) { Redis.new(url: redis_server.url(3)) }

    before { described_class.redis_options = { url: redis_server.url(3) } }
    after { other.close }

    it "keeps the tracking keys there" do
      middleware.call(Object.new, job, "low") { expect(other.keys(key("job:*"))).to eq([key("job:jid-1")]) }
      expect(redis.keys("*")).to be_empty
    end

    it "recovers from there into Sidekiq's queues" do
      other.sadd(key("jobs:dead"), ["a"])
      other.set(key("job:a"), payloads(%w[a], queue: "low")["a"])

      expect(described_class.reenqueue_orphans!).to eq(1)
      expect(queued("low").map { |queued| queued["jid"] }).to eq(["a"])
      expect(other.keys(key("job*"))).to be_empty
    end
  end

  {
    "cluster" => { cluster: ["redis://127.0.0.1:1"] },
    "nodes" => { nodes: ["redis://127.0.0.1:1"] }
  }.each do |option, options|
    it "refuses the Redis option #{option} by name" do
      described_class.redis_options = options
      expect { described_class.engine }.to raise_error(described_class::ConfigurationError, /redis_options: #{option} /)
    end
  end

  describe ".clear_unique_jobs_lock" do
    it "is public, reachable through send, and does nothing without sidekiq-unique-jobs" do
      expect(described_class.clear_unique_jobs_lock("unique_digest" => "d")).to be(false)
      expect(described_class.send(:clear_unique_jobs_lock, {})).to be(false)
    end

    it "calls what versions 7 and 8 offer" do
      deleted = []
      digests = Class.new { define_method(:delete_by_digest) { |digest| deleted << digest } }
      stub_const("SidekiqUniqueJobs::Digests", digests)
      expect(described_class.clear_unique_jobs_lock("lock_digest" => "d", "jid" => "j")).to be(true)
      expect(deleted).to eq(["d"])
    end

    it "calls what version 6 offers" do
      deleted = []
      digests = Module.new { define_singleton_method(:delete_by_digest) { |digest| deleted << digest } }
      stub_const("SidekiqUniqueJobs::Digests", digests)
      expect(described_class.clear_unique_jobs_lock("unique_digest" => "d")).to be(true)
      expect(deleted).to eq(["d"])
    end
  end

  it "has the name under which it began" do
    require "sidekiq-processing-tracker"
    expect(Sidekiq::ProcessingTracker).to equal(described_class)
  end
end
