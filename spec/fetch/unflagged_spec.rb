# frozen_string_literal: true

RSpec.describe "A job whose payload does not say that it is assured" do
  let(:app) { File.expand_path("../support/surrounded_app.rb", __dir__) }
  let(:hesitating) { { "SPEC_OUTSIDE" => "Hesitates", "SPEC_HESITATION" => "30" } }

  def push_by_name(job_class, **changes)
    job = { "class" => job_class, "args" => ["a", 0], "queue" => "default", "jid" => "j", "retry" => true,
            "created_at" => 1_700_000_000.25, "enqueued_at" => 1_700_000_000.5 }
    redis.sadd("queues", ["default"])
    redis.lpush("queue:default", JSON.generate(job.merge(changes.transform_keys(&:to_s))))
  end

  # Killed where only what was recorded with the pop is recorded.
  def kill_before_our_middleware
    victim = start_sidekiq(app:, env: hesitating)
    wait_until("it has come") { redis.lrange("middleware:saw", 0, -1) == ["j"] }
    victim.kill
    start_sidekiq(app:)
  end

  it "is recorded when it is popped, where its class is assured" do
    push_by_name("AssuredJob")
    kill_before_our_middleware

    wait_until("it is finished") { finished == { "a" => 1 } }
    wait_until("nothing is in flight") { in_flight.empty? }
  end

  it "is recorded also where the class stands behind a wrapper" do
    push_by_name("PlainJob", wrapped: "AssuredJob")
    kill_before_our_middleware

    wait_until("it is finished") { finished == { "a" => 1 } }
  end

  it "is not recorded where its class is not assured, and is lost as with plain Sidekiq" do
    push_by_name("PlainJob")
    kill_before_our_middleware
    push("AssuredJob", "b", 0)

    wait_until("the next one is finished") { finished == { "b" => 1 } }
    expect(in_flight).to be_empty
    expect(queued).to be_empty
  end

  it "does not come back where it says that it is not assured, or only its arguments speak of it" do
    push_by_name("PlainJob", args: ["a", 30], note: { "assured_jobs" => true })
    victim = start_sidekiq(app:)
    wait_until("it runs") { started == { "a" => 1 } }
    wait_until("nothing is in flight") { in_flight.empty? }
    victim.kill
    start_sidekiq(app:)
    push("AssuredJob", "b", 0)

    wait_until("the next one is finished") { finished == { "b" => 1 } }
    expect(started).to eq("a" => 1, "b" => 1)
  end

  it "keeps to the limit of its class" do
    push_by_name("LimitedKillingJob", args: ["poison"])
    process = nil
    wait_until("it is dead", within: 60) do
      process = spawn_sidekiq(app:, args: ["-c", "1"]) unless process&.alive?
      redis.zcard("dead") == 1
    end

    expect(started).to eq("poison" => 2)
  end
end
