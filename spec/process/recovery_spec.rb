# frozen_string_literal: true

require_relative "../support/fault_proxy"
require_relative "../support/repeater"

RSpec.describe "Recovery by a Sidekiq process" do
  # Nobody works on this queue: what is recovered stays there to be counted.
  let(:parked) { ["-q", "other"] }

  def parked_jids
    queued("parked").map { |job| job["jid"] }
  end

  it "brings back what a process of the 1.x gem left behind" do
    seed_orphans("1.x-instance", payloads(%w[a b c]))
    start_sidekiq

    wait_until("the orphans are finished") { finished.keys.sort == %w[a b c] }
    expect(started.values).to all(eq(1))
    wait_until("the dead instance is forgotten") { !registered.include?("1.x-instance") }
    expect(redis.exists?(key("jobs:1.x-instance"))).to be(false)
  end

  it "leaves a 1.x process alone while that one beats" do
    beats = Repeater.new do
      redis.set(key("instance:1.x-instance"), Time.now.to_i)
      0.5
    end
    seed_orphans("1.x-instance", payloads(%w[a]))
    start_sidekiq
    wait_until("it is known") { registered.include?("1.x-instance") }
    push("AssuredJob", "other", 4)

    wait_until("a job longer than every TTL is finished") { finished.key?("other") }
    expect(started).not_to have_key("a")
  ensure
    beats&.stop
  end

  it "marks what it recovers, and leaves the rest of the payload as it is" do
    odd = '{"queue":"parked","args":[[],{},12345678901234567890123,1.50],"class":"X","jid":"odd","enqueued_at":1.5}'
    seed_orphans("dead", "odd" => odd)
    start_sidekiq(args: parked)

    payload = wait_until("it is queued") { redis.lindex("queue:parked", 0) }
    now = Sidekiq::VERSION.to_i >= 8 ? /\d{13}/ : /\d{10}\.\d{6}/
    expect(payload).to match(/\A#{Regexp.escape(odd.delete_suffix("1.5}"))}#{now},"assured_recoveries":1}\z/)
  end

  it "puts bad orphans back, too, and keeps only those of which nothing tells their queue" do
    orphans = payloads((1..7).map(&:to_s), args: ->(jid) { [jid, 0] })
    orphans["unparsable"] = "{\"class\":"
    orphans["no json"] = "{\"queue\":\"parked\",\"class\":"
    seed_orphans("dead", orphans)
    process = start_sidekiq

    wait_until("seven are finished") { finished.keys.sort == (1..7).map(&:to_s) }
    wait_until("one is logged") { process.log.scan("cannot go back and stays recorded").size == 1 }
    expect(redis.smembers(key("jobs:dead"))).to contain_exactly("unparsable")
    expect(redis.lrange("queue:parked", 0, -1)).to eq(["{\"queue\":\"parked\",\"class\":"])
    expect(started.values).to all(eq(1))
  end

  context "when the recovering process is killed" do
    let(:proxy) { FaultProxy.new(redis_server.port) { |_, instant| 0.05 if instant == :after } }

    after { proxy.close }

    it "loses none of 500 orphans and queues none twice" do
      jids = (1..500).map(&:to_s)
      seed_orphans("dead", payloads(jids, queue: "parked"))
      recoverer = spawn_sidekiq(url: proxy.url, args: parked)
      wait_until("the recovery is in the middle", within: 30) { redis.llen("queue:parked").between?(50, 450) }
      recoverer.kill
      done = redis.llen("queue:parked")
      expect(done).to be_between(50, 499)
      expect(redis.scard(key("jobs:dead"))).to eq(500 - done)

      start_sidekiq(args: parked)
      wait_until("the rest is recovered", within: 30) { redis.scard(key("jobs:dead")).zero? }
      expect(parked_jids).to match_array(jids)
      expect(redis.keys(key("job:*"))).to be_empty
    end
  end
end
