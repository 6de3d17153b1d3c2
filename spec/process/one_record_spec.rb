# frozen_string_literal: true

RSpec.describe "One job, one record, one queue:" do
  let(:app) { File.expand_path("../support/surrounded_app.rb", __dir__) }

  def payload(**changes)
    job = { "class" => "AssuredJob", "args" => ["a", 4], "queue" => "default", "jid" => "j", "retry" => true,
            "assured_jobs" => true, "created_at" => 1_700_000_000.25, "enqueued_at" => 1_700_000_000.5 }
    JSON.generate(job.merge(changes.transform_keys(&:to_s)))
  end

  def push_raw(payload, queue: "default")
    redis.sadd("queues", [queue])
    redis.lpush("queue:#{queue}", payload)
  end

  # As PHP writes it.
  let(:escaped) { payload(jid: "orders/42").gsub("/", "\\/") }

  { "assured fetch" => "true", "the middleware" => "false" }.each do |way, fetch|
    context "with #{way}" do
      let(:env) { { "ASSURED_JOBS_FETCH" => fetch } }

      it "a jid that is escaped in the payload" do
        push_raw(escaped)
        victim = start_sidekiq(env:)
        wait_until("it runs") { started == { "a" => 1 } }
        expect(in_flight).to eq(["orders/42"])
        victim.kill
        start_sidekiq(env:)

        wait_until("it is finished", within: 30) { finished == { "a" => 1 } && in_flight.empty? }
        expect(started).to eq("a" => 2)
      end

      it "a middleware that runs the job in a thread of its own" do
        push_raw(payload)
        victim = start_sidekiq(app:, env: env.merge("SPEC_OUTSIDE" => "InThread"))
        wait_until("it runs") { started == { "a" => 1 } }
        expect(in_flight).to eq(["j"])
        victim.kill
        start_sidekiq(app:, env: env.merge("SPEC_OUTSIDE" => "InThread"))

        wait_until("it is finished", within: 30) { finished == { "a" => 1 } && in_flight.empty? }
        expect(started).to eq("a" => 2)
      end

      it "poison that such a middleware runs dies once, of its limit" do
        push_raw(payload(class: "KillingJob", args: ["poison"], assured_max_recoveries: 1))
        process = nil
        wait_until("it is dead", within: 60) do
          unless process&.alive?
            process = spawn_sidekiq(app:, args: ["-c", "1"], env: env.merge("SPEC_OUTSIDE" => "InThread"))
          end
          redis.zcard("dead") == 1
        end
        wait_until("nothing is left") { in_flight.empty? }

        expect(started).to eq("poison" => 2)
        expect([redis.zcard("dead"), redis.llen("queue:default")]).to eq([1, 0])
      end
    end
  end

  it "the queue that the job lay in, and not the one that its payload names" do
    push_raw(payload, queue: "moved")
    victim = start_sidekiq(args: ["-q", "moved"])
    wait_until("it runs") { started == { "a" => 1 } }
    victim.kill
    start_sidekiq(args: ["-q", "moved"])

    wait_until("it is finished", within: 30) { finished == { "a" => 1 } && in_flight.empty? }
    expect(redis.llen("queue:default")).to eq(0)
  end

  it "the same at a hard shutdown" do
    push_raw(payload(args: ["a", 30]), queue: "moved")
    victim = start_sidekiq(args: ["-q", "moved", "-t", "1"])
    wait_until("it runs") { started == { "a" => 1 } }
    victim.signal(:TERM)
    victim.wait_for_exit

    expect([redis.llen("queue:moved"), redis.llen("queue:default")]).to eq([1, 0])
    expect(in_flight).to be_empty
  end
end
