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
    "retrieve_work" => "another gem changes how Sidekiq fetches",
    "queues_cmd" => "another gem changes how Sidekiq fetches"
  }.each do |fetch, reason|
    it "leaves another fetcher at work (#{fetch})" do
      expect(boots_with("SPEC_FETCH" => fetch).log).to include("#{by_middleware} #{reason}")
      expect(redis.get("fetches").to_i).to be_positive
    end
  end
end
