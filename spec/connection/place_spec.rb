# frozen_string_literal: true

require_relative "../support/connections"

RSpec.describe "Where a connection goes", :connection do
  def with_server(*options)
    server = RedisServer.new(*options)
    admin = Redis.new(url: server.url)
    yield server, admin
  ensure
    processes.each(&:kill)
    admin&.close
    server&.remove
  end

  # What only an engine that reached this very database can see.
  def register(admin, count)
    count.times { |n| admin.hset(key("instances"), "instance #{n}", "{}") }
  end

  def expect_to_work_through(admin, options)
    AnySidekiq.redis = options
    start_connected(options)
    push("AssuredJob", "a", 0)
    wait_until("the job ends") { admin.hget("journal:finished", "a") == "1" }
    wait_until("nothing is in flight") { admin.keys(key("job:*")).empty? }
  end

  it "is a unix socket and database 3, with Sidekiq's jobs in it" do
    Dir.mktmpdir do |dir|
      path = File.join(dir, "redis.sock")
      with_server("--unixsocket", path) do |_, admin|
        admin.select(3)
        expect_to_work_through(admin, { url: "unix://#{path}", db: 3 })
        expect(look(path:, db: 3)).to eq(1)
        expect(look(path:)).to eq(0)
      end
    end
  end

  it "is the loopback address of IPv6" do
    with_server("--bind", "127.0.0.1", "::1") do |server, admin|
      expect_to_work_through(admin, { url: "redis://[::1]:#{server.port}/3" }.tap { admin.select(3) })
      expect(look(host: "::1", port: server.port, db: 3)).to eq(1)
    end
  end

  it "is a host with several addresses, the first of which nobody listens on" do
    with_server("--bind", "127.0.0.1") do |server, admin|
      register(admin, 2)
      expect(look(host: "localhost", port: server.port)).to eq(2)
    end
  end

  it "is found by all ways to name it, which are the same database where they are" do
    register(redis, 1)
    url = redis_server.url
    port = redis_server.port
    [{ url: }, { host: "127.0.0.1", port: }, { "host" => "127.0.0.1", "port" => port.to_s }].each do |options|
      expect(look(options)).to eq(1)
      expect(settings(options)).to include(queues: nil)
    end
    expect(settings(url: redis_server.url(3))[:queues]).to include(port:, db: 0)
  end

  it "takes the timeouts of the connection" do
    expect(details(url: redis_server.url, timeout: 7)).to include(connect_timeout: 7.0, read_timeout: 7.0)
    expect(details(url: redis_server.url, network_timeout: 3, read_timeout: 2))
      .to include(connect_timeout: 3.0, read_timeout: 2.0, write_timeout: 3.0)
  end

  it "gives a server that accepts and says nothing no more than the timeout for all steps together" do
    mute = TCPServer.new("127.0.0.1", 0)
    options = { host: "127.0.0.1", port: mute.addr[1], password: "p", db: 3, timeout: 0.5 }
    began = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    expect { look(options) }.to fail_to_connect(/did not answer in time/)
    expect(Process.clock_gettime(Process::CLOCK_MONOTONIC) - began).to be_between(0.4, 1.2)
  ensure
    mute&.close
  end

  it "is asked for anew when the server has become a replica, which refuses to write" do
    with_server do |server, admin|
      heartbeat = lambda do
        admin.client(:list).find { |client| client["name"] == "sidekiq-assured-jobs:heartbeat" }&.fetch("id")
      end
      start_sidekiq(env: { "ASSURED_JOBS_REDIS_OPTIONS" => JSON.generate(url: server.url) })
      before = heartbeat.call
      admin.replicaof("127.0.0.1", free_port)
      # Another one is refused at once, too, and is hardly ever seen.
      wait_until("it lets go of the connection") { heartbeat.call != before }
      admin.replicaof("no", "one")
      instance = admin.hkeys(key("instances")).first
      beat = admin.get(key("instance:#{instance}"))
      wait_until("it beats") { ![nil, beat].include?(admin.get(key("instance:#{instance}"))) }
      expect([nil, before]).not_to include(heartbeat.call)
    end
  end

  it "shows its own name and the application's in CLIENT LIST, but not the one that Sidekiq makes up" do
    start_connected({ url: redis_server.url, id: "billing" })
    wait_until("all threads are connected") do
      names = redis.client(:list).map { |client| client["name"] }
      %w[heartbeat pipeline sweep].all? { |role| names.include?("billing:sidekiq-assured-jobs:#{role}") }
    end
    expect(details(url: redis_server.url, id: "Sidekiq-server-PID-17")).to include(client_name: nil)
  end

  describe "with redis-namespace" do
    # Where its library is, unless it is among the gems.
    let(:library) do
      found = Gem.find_files("redis-namespace.rb").first
      ENV.fetch("REDIS_NAMESPACE_PATH") { found && File.dirname(found) }
    end

    it "puts the namespace before Sidekiq's keys and its own" do
      skip "redis-namespace is not here; REDIS_NAMESPACE_PATH may name its lib directory" unless library

      payload = payloads(%w[a]).fetch("a")
      redis.lpush("app:queue:default", payload)
      process = start_connected({ url: redis_server.url, namespace: "app" }, env: { "RUBYLIB" => library })
      expect(process.log).to include("by assured fetch")
      wait_until("the job ends") { redis.hget("app:journal:finished", "a") == "1" }
      expect(redis.keys("app:#{key("instance")}*").size).to eq(2)
      expect(redis.keys("*").reject { |name| name.start_with?("app:") }).to be_empty
    end
  end
end
