# frozen_string_literal: true

require_relative "../support/fetch_helpers"

RSpec.describe "The order in which assured fetch serves queues", :fetch do
  # So many that no queue runs dry.
  def fill(queues)
    script = "for i = 1, tonumber(ARGV[1]) do redis.call('RPUSH', KEYS[1], '{}') end"
    queues.each { |queue, count| redis.eval(script, keys: ["queue:#{queue}"], argv: [count]) }
  end

  def shares(fetch, count, threads:)
    queues = fetch_many(fetch, count, threads:, &:queue_name)
    queues.tally.transform_values { |times| 100.0 * times / count }
  end

  # Sidekiq 6.4 calls BRPOP in a way that redis-rb 4.8 warns about, each time.
  def silently
    return yield unless Redis.respond_to?(:silence_deprecations=)

    begin
      Redis.silence_deprecations = true
      yield
    ensure
      Redis.silence_deprecations = false
    end
  end

  it "draws weighted queues as Sidekiq's own fetcher does" do
    queues = %w[a a a b b c]
    fill("a" => 25_000, "b" => 17_000, "c" => 9_000)
    ours = shares(fetcher(queues), 20_000, threads: 10)
    theirs = silently { shares(Sidekiq::BasicFetch.new(AnySidekiq.queues(queues, strict: false)), 20_000, threads: 1) }

    expect(ours.keys).to match_array(%w[a b c])
    ours.each { |queue, share| expect(share).to be_within(2).of(theirs.fetch(queue)), "#{ours} and #{theirs}" }
  end

  it "takes no job of a lower queue while a higher one has any" do
    fetch = fetcher(%w[high low], strict: true)
    fill("high" => 300, "low" => 320)
    left_above = fetch_many(fetch, 600) { |unit| unit.queue_name == "low" ? redis.llen("queue:high") : 0 }
    expect(left_above.uniq).to eq([0])

    20.times do |n|
      redis.lpush("queue:high", ["{}"] * n) if n.positive?
      expect(Array.new(n + 1) { fetch.retrieve_work.queue_name }).to eq([*["high"] * n, "low"])
    end
  end

  it "takes jobs that wait in one queue first in, first out, byte for byte" do
    payloads = Array.new(50) do |n|
      assured = n.even? ? ',"assured_jobs":true' : ""
      %({"class":"X","args":[[],{},12345678901234567890,1.50,"\\u00e9"],"jid":"#{n}","enqueued_at":1.250#{assured}})
    end
    push_raw(*payloads)
    fetch = fetcher(["default"])

    expect(Array.new(50) { fetch.retrieve_work.job }).to eq(payloads)
  end

  it "serves one queue while nobody pushes to the others" do
    fetch = fetcher(%w[none used nothing])
    push_raw(*Array.new(20, "{}"), queue: "used")

    expect(fetch_many(fetch, 20, &:queue)).to eq(["queue:used"] * 20)
  end

  it "waits as Sidekiq's own fetcher does when there are no queues at all" do
    fetch = fetcher([])
    asleep = Thread.new { fetch.retrieve_work }
    wait_until("it sleeps") { asleep.status == "sleep" }
    expect(asleep.value).to be_nil
  end

  it "is the one that -q asks for: strict" do
    %w[high low].each { |queue| 200.times { push("OrderJob", queue, queue:, assured_jobs: nil) } }
    start_app(args: ["-c", "5", "-q", "high", "-q", "low"])
    wait_until("all have run") { redis.llen("journal:order") == 400 }

    order = redis.lrange("journal:order", 0, -1)
    # Five threads write it down side by side.
    expect(order.index("low")).to be >= 195
  end

  it "is the one that -q asks for: weighted" do
    %w[a b c].each { |queue| 900.times { push("OrderJob", queue, queue:, assured_jobs: nil) } }
    start_app(args: ["-c", "5", "-q", "a,3", "-q", "b,2", "-q", "c,1"])
    wait_until("most have run") { redis.llen("journal:order") >= 1_200 }

    tally = redis.lrange("journal:order", 0, 1_199).tally
    expect(tally).to match("a" => be_within(120).of(600), "b" => be_within(120).of(400), "c" => be_within(120).of(200))
  end
end
