# frozen_string_literal: true

RSpec.describe "Recovery beside application code" do
  let(:with_middleware) { File.expand_path("../support/app_with_client_middleware.rb", __dir__) }
  let(:other_application) { File.expand_path("../support/other_application.rb", __dir__) }
  let(:parked) { ["-q", "other"] }

  def back
    queued("parked").map { |job| job["jid"] }
  end

  { "refuses" => "refuse", "raises" => "raise", "raises what is no StandardError" => "raise no StandardError" }
    .each do |what, word|
    it "asks no client middleware, be it one that #{what}, whatever the limits of the job" do
      jobs = payloads(%w[a b c d], queue: "parked", args: ->(_) { [word, 0] })
      jobs["b"] = jobs["b"].sub(/}\z/, ',"dead":false}')
      jobs["c"] = jobs["c"].sub(/}\z/, ',"assured_max_recoveries":1}')
      seed_orphans("dead", jobs)
      process = start_sidekiq(app: with_middleware, args: parked, env: { "ASSURED_JOBS_MAX_RECOVERIES" => "1" })

      wait_until("all are back\n#{process.log}") { back.sort == %w[a b c d] }
      expect(redis.exists?("middleware:saw")).to be(false)
      expect(redis.zcard("dead")).to eq(0)
    end
  end

  it "is held up by no client middleware that takes its time" do
    jids = (1..70).map(&:to_s)
    seed_orphans("dead", payloads(jids, queue: "parked"))
    start_sidekiq(app: with_middleware, args: parked, env: { "SPEC_MIDDLEWARE_SECONDS" => "1" })

    # Seventy seconds, if it were asked.
    wait_until("all are back", within: 20) { back.sort == jids.sort }
    expect(redis.exists?("middleware:saw")).to be(false)
  end

  it "brings back what client middleware had taken and let go once, and no second time" do
    victim = start_sidekiq(app: with_middleware)
    push("AssuredJob", "take", 5)
    wait_until("it runs") { started == { "take" => 1 } }
    victim.kill
    start_sidekiq(app: with_middleware)

    wait_until("it is finished", within: 30) { finished == { "take" => 1 } && in_flight.empty? }
    expect(started).to eq("take" => 2)
    expect([redis.llen("aside"), redis.zcard("dead")]).to eq([0, 0])
  end

  it "puts another application's jobs back into their queue" do
    seed_orphans("dead", payloads(%w[a b], queue: "default", args: ->(jid) { [jid, 0] }))
    start_sidekiq(app: other_application, args: parked)
    wait_until("both are back") { queued.size == 2 }

    start_sidekiq
    wait_until("their owner finishes them") { finished.keys.sort == %w[a b] }
    expect(redis.zcard("dead")).to eq(0)
  end

  it "leaves the handlers of another application's dead job to that application" do
    fresh = payloads(%w[j], job_class: "KillingJob")
    seed_orphans("dead", fresh.transform_values { |job| job.sub(/}\z/, ',"assured_recoveries":3}') })
    start_sidekiq(app: other_application, args: parked)
    wait_until("it is dead") { redis.zcard("dead") == 1 }
    # Its next sweeps see what waits there.
    wait_until("some sweeps later") { redis.info(:commandstats).dig("lrange", "calls").to_i.positive? }
    expect(redis.exists?("told:elsewhere")).to be(false)

    start_sidekiq(app: File.expand_path("../support/poison_app.rb", __dir__), args: parked)
    wait_until("its own handlers run") { redis.llen("told:exhausted") == 1 && redis.llen("told:dead") == 1 }
    expect(redis.exists?("told:elsewhere")).to be(false)
  end
end
