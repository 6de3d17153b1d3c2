# frozen_string_literal: true

require_relative "../support/fetch_helpers"

RSpec.describe "Which way in is on", :fetch do
  def boots_with(env)
    process = start_app(env:)
    push("AssuredJob", "a", 0)
    wait_until("a job has run") { finished.key?("a") }
    process
  end

  it "is assured fetch, where Sidekiq would use its own fetcher" do
    expect(boots_with({}).log.scan(/jobs are tracked by.*/)).to eq(["jobs are tracked by assured fetch"])
    expect(stock_fetches).to eq(0)
  end

  by_middleware = "jobs are tracked by the middleware, because"

  {
    "the code says so" => [{ "SPEC_FETCH" => "code" }, "fetch is set to false"],
    "the environment says so" => [{ "ASSURED_JOBS_FETCH" => "false" }, "fetch is set to false"],
    "the records are in another Redis" =>
      [->(url) { { "ASSURED_JOBS_REDIS_OPTIONS" => JSON.generate(url:) } }, "redis_options names another Redis"]
  }.each do |what, (env, reason)|
    it "is the middleware where #{what}" do
      env = env.call(redis_server.url(1)) if env.respond_to?(:call)
      expect(boots_with(env).log).to include("#{by_middleware} #{reason}")
      expect(stock_fetches).to be_positive
    end
  end

  {
    "foreign" => "ForeignFetch fetches the jobs",
    "inheriting" => "InheritingFetch fetches the jobs",
    "startup" => "InheritingFetch fetches the jobs",
    "retrieve_work" => "another gem changes how Sidekiq fetches",
    "queues_cmd" => "another gem changes how Sidekiq fetches"
  }.each do |fetch, reason|
    it "leaves another fetcher at work (#{fetch})" do
      expect(boots_with("SPEC_FETCH" => fetch).log).to include("#{by_middleware} #{reason}")
      expect(redis.get("fetches").to_i).to be_positive
    end
  end

  { "changed" => "a changed Sidekiq::Scheduled::Enq", "own" => "InheritingSchedule" }.each do |kind, name|
    it "leaves to another scheduler what is due, and says so (#{kind})" do
      redis.zadd("schedule", Time.now.to_f - 1, payloads(%w[due]).fetch("due"))
      process = boots_with("SPEC_FETCH" => "#{kind} schedule", "SPEC_POLL" => "0.5")
      wait_until("the due job has run") { finished.key?("due") }

      expect(process.log).to include("by assured fetch, but a SIGKILL may lose one that is due, which #{name} moves")
      expect(redis.get("schedules").to_i).to be_positive
      expect(stock_fetches).to eq(0)
    end
  end

  context "when a capsule has made its fetcher before the start", skip: !AnySidekiq::SEVEN && "Sidekiq 6 has none" do
    it "is assured fetch in its place" do
      expect(boots_with("SPEC_FETCH" => "early").log).to include("jobs are tracked by assured fetch")
      expect(stock_fetches).to eq(0)
    end

    it "is the middleware where that fetcher was changed" do
      log = boots_with("SPEC_FETCH" => "early changed").log
      expect(log).to include("#{by_middleware} Sidekiq::BasicFetch fetches the jobs")
      expect(redis.get("fetches").to_i).to be_positive
    end
  end

  context "when config.redis changes after a pool was made", skip: !AnySidekiq::SEVEN && "Sidekiq 6 has one pool" do
    let(:late) { Redis.new(url: redis_server.url(1)) }

    after { late.close }

    def boots_late(fetch)
      start_app(env: { "SPEC_FETCH" => fetch, "SPEC_LATE_URL" => redis_server.url(1) })
    end

    def finished_late
      late.hgetall("journal:finished")
    end

    it "is assured fetch from where Sidekiq fetches, with a warning" do
      process = boots_late("late redis")
      push_raw(payloads(%w[a]).fetch("a"), to: late)
      wait_until("the job has run") { finished_late.key?("a") }

      expect(process.log).to include("jobs are tracked by assured fetch")
      expect(process.log).to match(%r{where capsule default \(\S+/1\) is; elsewhere: Sidekiq.redis \(\S+/0\)\.})
      expect(stock_fetches).to eq(0)
    end

    it "does not begin where capsules fetch from several places" do
      env = { "SPEC_FETCH" => "capsule redis", "SPEC_LATE_URL" => redis_server.url(1) }
      process = spawn_sidekiq(app: FetchHelpers::APP, env:)

      expect(process.wait_for_exit).not_to be_success
      expect(process.log).to include("ConfigurationError")
      expect(process.log)
        .to match(%r{different databases: capsule default \(\S+/1\), capsule second \(\S+/0\)\.})
    end
  end
end
