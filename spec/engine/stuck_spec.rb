# frozen_string_literal: true

require_relative "../support/unique_contract"

RSpec.describe Sidekiq::AssuredJobs::PushBack, "with a job whose unique lock a duplicate has" do
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

  it "puts it back when the duplicate lets go" do
    redis = Redis.new(url: server.url)
    redis.hset("uniquejobs:d:LOCKED", "duplicate", 1)
    attempt = engine.track("j", "q", payload)
    engine.await_record(attempt)
    described_class.readmit(engine, attempt, payload)
    expect(redis.llen("queue:q")).to eq(0)

    redis.del("uniquejobs:d:LOCKED")
    Wait.wait_until("the job is back") { redis.llen("queue:q") == 1 }
    expect(engine.in_flight).to eq(0)
  end
end
