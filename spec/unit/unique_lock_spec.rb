# frozen_string_literal: true

require_relative "../support/unique_contract"

RSpec.describe Sidekiq::AssuredJobs::RecoveryClient, "with a unique lock" do
  let(:client) { described_class.new }
  let(:digest) { "lock_digest" }
  let(:job) do
    { "class" => "X", "args" => [], "queue" => "q", "jid" => "orphan", digest => "uniquejobs:d", "retry" => true,
      "created_at" => 1.5 }
  end

  def decide(**settings)
    client.decide("record", JSON.generate(job.merge(settings.transform_keys(&:to_s))))
  end

  def saw
    redis.lrange("contract:saw", 0, -1)
  end

  def lock(runtime)
    "uniquejobs:d#{":RUN" if runtime}:#{digest == "lock_digest" ? "LOCKED" : "GRABBED"}"
  end

  def locked(jid, runtime: false)
    redis.hset(lock(runtime), jid, 1)
  end

  def holders(runtime: false)
    redis.hkeys(lock(runtime))
  end

  before do
    stub_const("SidekiqUniqueJobs::Locksmith", UniqueContract::Locksmith)
    Sidekiq::AssuredJobs::Compat::SIDEKIQ.client_middleware.add(UniqueContract::Client)
  end

  after { Sidekiq::AssuredJobs::Compat::SIDEKIQ.client_middleware.remove(UniqueContract::Client) }

  %w[lock_digest unique_digest].each do |key|
    context "when the digest is in #{key}" do
      let(:digest) { key }

      it "lets the job pass its own locks and leaves both as they are" do
        locked("orphan")
        locked("orphan", runtime: true)

        expect(decide).to match(["record", "q", String])
        expect(holders + holders(runtime: true)).to eq(%w[orphan orphan])
        expect(saw).to eq(%w[orphan])
      end

      it "takes the lock where that is free" do
        expect(decide).to match(["record", "q", String])
        expect(holders).to eq(%w[orphan])
      end

      it "releases the job's own runtime lock, and nobody else's, where duplicates are queued" do
        %w[duplicate another].each { |jid| locked(jid) }
        %w[orphan other].each { |jid| locked(jid, runtime: true) }

        expect(decide(lock_limit: 2)).to eq(["record", "a duplicate has its unique lock uniquejobs:d; " \
                                                       "it comes back after that", true])
        expect(holders(runtime: true)).to eq(%w[other])
        expect(holders).to contain_exactly("duplicate", "another")
      end

      it "is not shown to client middleware while a duplicate runs" do
        locked("duplicate", runtime: true)

        expect(decide.last).to be(true)
        expect(saw).to be_empty
      end
    end
  end

  it "pushes again once it has released the job's own lock" do
    locked("orphan", runtime: true)
    refuse_while_it_runs = Class.new do
      def call(_job_class, job, _queue, _pool)
        yield unless Sidekiq.redis { |redis| redis.hkeys("uniquejobs:d:RUN:LOCKED") }.include?(job["jid"])
      end
    end
    Sidekiq::AssuredJobs::Compat::SIDEKIQ.client_middleware.add(refuse_while_it_runs)

    expect(decide).to match(["record", "q", String])
  ensure
    Sidekiq::AssuredJobs::Compat::SIDEKIQ.client_middleware.remove(refuse_while_it_runs)
  end

  it "strips the suffix that a runtime lock leaves in the payload" do
    locked("duplicate", runtime: true)

    expect(decide(lock_digest: "uniquejobs:d:RUN").last).to be(true)
    expect(saw).to be_empty
  end

  [{ on_conflict: "reject" }, { on_conflict: { "client" => "replace", "server" => "raise" } },
   { on_client_conflict: "reschedule" }, { lock_timeout: nil }, { lock_timeout: 30 }].each do |settings|
    it "neither waits nor resolves the conflict with #{settings}" do
      locked("duplicate")

      expect(decide(**settings)).to match(["record", start_with("a duplicate has its unique lock"), true])
      expect(redis.exists?("contract:resolved")).to be(false)
    end

    it "keeps #{settings} in what it pushes, and adds nothing" do
      pushed = JSON.parse(decide(**settings).last)

      expect(pushed).to eq(job.merge(settings.transform_keys(&:to_s)))
    end
  end

  it "says so where another client middleware refuses the job" do
    refuse = Class.new { def call(*) = nil }
    Sidekiq::AssuredJobs::Compat::SIDEKIQ.client_middleware.add(refuse)

    expect(decide).to eq(["record", "refused by client middleware"])
  ensure
    Sidekiq::AssuredJobs::Compat::SIDEKIQ.client_middleware.remove(refuse)
  end

  it "lets the application's own pushes keep their answer to duplicates" do
    locked("duplicate")
    client.prepare(job.merge("on_conflict" => "reject"))

    expect(redis.lrange("contract:resolved", 0, -1)).to eq(%w[reject])
  end

  it "changes nothing where that gem is not loaded" do
    hide_const("SidekiqUniqueJobs::Locksmith")
    locked("duplicate")

    expect(decide(on_conflict: "reject")).to eq(["record", "refused by client middleware"])
    expect(redis.lrange("contract:resolved", 0, -1)).to eq(%w[reject])
  end
end
