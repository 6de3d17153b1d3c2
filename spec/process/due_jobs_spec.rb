# frozen_string_literal: true

RSpec.describe "A scheduled job that is due" do
  let(:slow_push) { File.expand_path("../support/app_with_client_middleware.rb", __dir__) }
  let(:poll) { { "SPEC_POLL" => "0.5" } }

  def schedule(key)
    redis.zadd("schedule", Time.now.to_f - 1, payloads([key]).fetch(key))
  end

  it "runs once, and leaves nothing behind" do
    schedule("a")
    process = start_sidekiq(env: poll)
    wait_until("it is finished") { finished.key?("a") }
    process.signal(:TERM)
    process.wait_for_exit

    expect(started).to eq("a" => 1)
    expect(own_keys).to be_empty
  end

  { "our fetcher" => {}, "another gem's fetcher" => { "SPEC_FETCH" => "inheriting" } }.each do |fetcher, env|
    it "survives a kill between the set that it leaves and the queue that it goes to (#{fetcher})" do
      schedule("a")
      process = start_sidekiq(app: slow_push, env: poll.merge("SPEC_MIDDLEWARE_SECONDS" => "30", **env))
      wait_until("it is on its way") { redis.lrange("middleware:saw", 0, -1) == ["a"] }
      expect(redis.zcard("schedule")).to eq(0)
      expect(in_flight).to eq(["a"])
      process.kill
      start_sidekiq

      wait_until("it is finished") { finished.key?("a") }
      expect(started).to eq("a" => 1)
      expect(process.log).to include("InheritingFetch fetches the jobs") if env.any?
    end
  end

  it "stays where it is when no engine runs any more" do
    schedule("a")
    AnySidekiq.scheduler(Sidekiq::AssuredJobs::DueJobs).enqueue_jobs

    expect(redis.zcard("schedule")).to eq(1)
    expect(Sidekiq::AssuredJobs.running_engine).to be_nil
  ensure
    Sidekiq::AssuredJobs.stop
  end
end
