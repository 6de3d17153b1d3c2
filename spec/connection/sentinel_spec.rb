# frozen_string_literal: true

require_relative "../support/connections"
require_relative "../support/sentinels"

RSpec.describe "A Redis that sentinels watch", :connection do
  let(:sentinels) { Sentinels.new }

  after do
    processes.each(&:kill)
    sentinels.remove
  end

  it "is found by either client's spelling, through any sentinel, and not by a wrong password or name" do
    sentinels.client.hset(key("instances"), "one", "{}")
    servers = sentinels.ports.map { |port| { host: "127.0.0.1", port: } }
    login = { sentinel_username: "default", sentinel_password: Sentinels::WATCH }
    expect(look(sentinels.options)).to eq(1)
    expect(look(name: "mymaster", password: Sentinels::DATA, sentinels: servers, **login)).to eq(1)
    urls = sentinels.ports.map { |port| "redis://:#{Sentinels::WATCH}@127.0.0.1:#{port}" }
    expect(look(name: "mymaster", password: Sentinels::DATA, role: "master", sentinels: urls)).to eq(1)
    expect(look(sentinels.options(ports: [free_port, sentinels.ports.last]))).to eq(1)

    at = /sentinel 127.0.0.1:\d+ of mymaster/
    expect { look(name: "mymaster", sentinels: servers) }.to fail_to_connect(/NOAUTH.*#{at}/)
    expect { look(name: "mymaster", sentinels: servers, sentinel_password: "x") }.to fail_to_connect(/WRONGPASS.*#{at}/)
    expect { look(name: "nobody", sentinels: servers, **login) }.to fail_to_connect(/knows no master of that name/)
    expect { look(sentinels.options(ports: [free_port])) }.to fail_to_connect(/refused.*#{at}/)
    expect(Sentinels::NAME).to eq(settings(sentinels.options)[:tracking][:sentinels][:master])
  end

  it "is not taken for the master when it is a replica, whatever a sentinel says" do
    replica = sentinels.instance_variable_get(:@servers).last
    liar = TCPServer.new("127.0.0.1", 0)
    answers = Thread.new do
      client = liar.accept
      client.readpartial(4096)
      client.write("*2\r\n$9\r\n127.0.0.1\r\n$#{replica.port.to_s.size}\r\n#{replica.port}\r\n")
    end
    servers = [{ host: "127.0.0.1", port: liar.addr[1] }]
    expect { look(name: "mymaster", password: Sentinels::DATA, sentinels: servers) }
      .to fail_to_connect(/this server is a slave, though a sentinel calls it the master \(127.0.0.1:#{replica.port}\)/)
  ensure
    answers&.kill
    liar&.close
  end

  describe "while jobs run" do
    let(:ran) { Tempfile.new("ran") }
    let(:long) { %w[long-0 long-1 long-2] }

    def done
      File.readlines(ran.path, chomp: true)
    end

    def push_many(numbers, seconds)
      numbers.map do |number|
        Sidekiq::Client.push("class" => "FailoverJob", "args" => [ran.path, number, seconds], "queue" => "default",
                             "retry" => true, "assured_jobs" => true)
      end
    end

    # What a failover loses that comes before the replica has heard of the jobs.
    def lose(jids)
      master = sentinels.client
      instance = master.hkeys(key("instances")).first
      master.multi do |transaction|
        transaction.srem(key("jobs:#{instance}"), jids)
        transaction.del(*jids.map { |jid| key("job:#{jid}") })
      end
      instance
    end

    it "loses none of 2,000 that the new master has when the old one fails, and has the records within one heartbeat" do
      AnySidekiq.redis = sentinels.options
      jids = push_many(long, 12)
      # After an outage longer than the TTL what is missing counts as given to others.
      longer = { "ASSURED_JOBS_HEARTBEAT_TTL" => "30" }
      process = start_connected(sentinels.options, args: %w[-c 10], env: longer)
      wait_until("the long ones run") { sentinels.client.exists?(*jids.map { |jid| key("job:#{jid}") }) }
      push_many(0...2_000, 0.005)
      sentinels.wait_until_replicated
      wait_until("it is in the middle") { done.size > 300 }

      master = sentinels.fail_over
      instance = lose(jids)
      beat = master.get(key("instance:#{instance}"))
      wait_until("it beats at the new master") { master.get(key("instance:#{instance}")) != beat }
      back = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      wait_until("the records are back") { (jids - master.smembers(key("jobs:#{instance}"))).empty? }
      # One heartbeat; the rest is for a busy machine.
      expect(Process.clock_gettime(Process::CLOCK_MONOTONIC) - back).to be < 0.5 + 1.5
      expect(jids.map { |jid| master.exists?(key("job:#{jid}")) }).to all(be(true))

      wait_until("all have run", within: 60) { (long + (0...2_000).map(&:to_s) - done).empty? }
      wait_until("nothing is in flight") { master.keys(key("job:*")).empty? }
      expect(done & long).to match_array(long)
      expect(done.size).to be <= 2_003 + 10
      expect(process.log).not_to include("declared dead")
    end

    it "loses none when the roles change while both servers are up" do
      AnySidekiq.redis = sentinels.options
      start_connected(sentinels.options)
      push_many(["first"], 0)
      wait_until("it works") { done.include?("first") }

      master = sentinels.change_roles
      push_many(["last"], 0)
      wait_until("it has followed", within: 30) { done.include?("last") }
      wait_until("it is released there") { master.keys(key("job:*")).empty? }
    end
  end
end
