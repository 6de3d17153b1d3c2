# frozen_string_literal: true

require "timeout"
require_relative "../support/unique_contract"

RSpec.describe Sidekiq::AssuredJobs::PushBack, "with a job that has a unique lock" do
  let(:server) { RedisServer.new }
  let(:payload) do
    JSON.generate("class" => "X", "args" => [], "queue" => "q", "jid" => "j", "lock_digest" => "uniquejobs:d",
                  "assured_jobs" => true, "retry" => true, "created_at" => 1.5)
  end
  let(:engine) do
    config = Sidekiq::AssuredJobs::Configuration.new(environment: {})
    Sidekiq::AssuredJobs::Native::Engine.start(Sidekiq::AssuredJobs::EngineSettings.of(config))
  end

  before do
    AnySidekiq.redis = { url: server.url }
    stub_const("SidekiqUniqueJobs::Locksmith", UniqueContract::Locksmith)
    stub_const("Sidekiq::AssuredJobs::PushBack::PAUSE", 0.05)
    Sidekiq::AssuredJobs::Compat::SIDEKIQ.client_middleware.add(UniqueContract::Client)
    allow(Sidekiq::AssuredJobs).to receive(:running_engine).and_return(engine)
  end

  after do
    Sidekiq::AssuredJobs::Compat::SIDEKIQ.client_middleware.remove(UniqueContract::Client)
    engine.stop(1)
    server.remove
  end

  # As a thread has it that runs the job.
  def attempt
    @attempt ||= engine.track("j", "q", payload).tap { |attempt| engine.await_record(attempt) }
  end

  it "puts it back when a duplicate lets go of the lock" do
    redis = Redis.new(url: server.url)
    redis.hset("uniquejobs:d:LOCKED", "duplicate", 1)
    described_class.readmit(engine, attempt, payload)
    expect(redis.llen("queue:q")).to eq(0)

    redis.del("uniquejobs:d:LOCKED")
    Wait.wait_until("the job is back") { redis.llen("queue:q") == 1 }
    expect(engine.in_flight).to eq(0)
    # So that it is not dropped where a duplicate runs when its turn comes.
    expect(JSON.parse(redis.lindex("queue:q", 0))).to include("assured_recoveries" => 0)
  end
  context "at a hard shutdown" do
    # Longer than the examples may take.
    let(:patience) { 60 }

    before do
      stub_const("Sidekiq::AssuredJobs::PushBack::PATIENCE", patience)
      unit = Sidekiq::AssuredJobs::Fetcher::UnitOfWork.new("queue:q", payload, nil, attempt, engine)
      described_class.give_back(unit => attempt)
    end

    def await_threads
      Timeout.timeout(10) { described_class.await_threads(engine) }
    end

    it "waits for its thread" do
      waiting = Thread.new { await_threads }
      wait_until("it waits") { waiting.status == "sleep" }
      Sidekiq::AssuredJobs::Unacknowledged.settle(engine, attempt, payload, :shutdown)
      waiting.join

      expect(Redis.new(url: server.url).llen("queue:q")).to eq(1)
    end

    it "waits no longer once it is acknowledged" do
      engine.release(attempt)
      expect { await_threads }.not_to raise_error
    end

    it "waits no longer once it is on its way back, untouched" do
      Sidekiq::AssuredJobs::Unacknowledged.settle(engine, attempt, payload, :untouched)
      expect { await_threads }.not_to raise_error
    end

    context "when its thread does not end" do
      let(:patience) { 0.1 }

      it "leaves it recorded, and the next engine has nobody to wait for" do
        await_threads
        described_class.forget
        stub_const("Sidekiq::AssuredJobs::PushBack::PATIENCE", 60)
        expect { await_threads }.not_to raise_error
        expect(engine.in_flight).to eq(1)
      end
    end
  end
end
