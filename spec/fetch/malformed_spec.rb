# frozen_string_literal: true

require_relative "../support/fetch_helpers"

RSpec.describe "Malformed payloads under assured fetch", :fetch do
  def job(fields)
    JSON.generate({ "class" => "EchoJob", "queue" => "default", "retry" => true, "assured_jobs" => true }.merge(fields))
  end

  let(:inputs) do
    [
      "not json", '{"class":"EchoJob","args":[', '{"assured_jobs":true,"jid":"broken"', "", "\x00\xFF\xFE".b,
      "{\"class\":\"EchoJob\",\"args\":[\"\xFF\xC3\"],\"jid\":\"binary\",\"assured_jobs\":true}".b,
      job("args" => ["no jid"]), job("args" => ["jid is null"], "jid" => nil),
      job("args" => [{ "jid" => "inner", "assured_jobs" => true }]),
      job("args" => ["both", { "jid" => "inner" }], "jid" => "outer"),
      job("args" => ["first"], "jid" => "double"), job("args" => ["second"], "jid" => "double"),
      job("args" => [12_345_678_901_234_567_890, [], {}, 1.5e300], "jid" => "numbers"),
      job("class" => "NoSuchJob", "args" => [12_345_678_901_234_567_890, []], "jid" => "unknown"),
      job("class" => "NoSuchJob", "args" => [], "jid" => "no retry", "retry" => false),
      job("class" => "NoSuchJob", "args" => [[]], "retry" => 0, "jid" => "dead"),
      job("args" => ["x" * (5 << 20)], "jid" => "large"),
      "{\"class\":\"EchoJob\",\"args\":[\"\\u0000 \u00e9\"],\"jid\":\"text\",\"assured_jobs\":true}".b,
      job("class" => nil, "args" => [], "jid" => "no class"), job("class" => 5, "args" => [], "jid" => "class"),
      job("args" => nil, "jid" => "no args"), job("args" => "text", "jid" => "text args"),
      job("args" => ["no queue"], "jid" => "no queue", "queue" => nil), job("args" => ["number"], "jid" => 5),
      job("args" => ["object"], "jid" => { "a" => [] }), job("args" => ["long"], "jid" => "j" * 10_000),
      job("args" => ["odd retry"], "jid" => "odd", "retry" => "no"), job("args" => ["flag"], "assured_jobs" => "yes"),
      "[]", '[{"assured_jobs":true}]', "null", "5", job("args" => ["last"], "jid" => "last")
    ]
  end

  # Sidekiq's own keys, without points in time.
  def outcome(client)
    sets = %w[retry dead].to_h { |name| [name, client.zrange(name, 0, -1).map { |item| timeless(item) }.sort] }
    sets.merge("queue" => client.lrange("queue:default", 0, -1), "echo" => client.lrange("journal:echo", 0, -1).sort,
               "processed" => client.get("stat:processed"), "failed" => client.get("stat:failed"))
  end

  def timeless(item)
    item.b.gsub(/"(failed_at|retried_at)":[\d.]+/, '"\1":0')
  end

  # @return [Hash] what became of the inputs
  def run(app, database, log_line)
    client = Redis.new(url: redis_server.url(database))
    push_raw(*inputs, to: client)
    process = spawn_sidekiq(app:, url: redis_server.url(database))
    wait_until("it has booted\n#{process.log}") { process.log.include?(log_line) }
    # What a thread gets after TERM goes back: the large one takes its time.
    wait_until("the large one and the last one have run\n#{process.log}") do
      %w[large last].all? { |jid| client.lrange("journal:echo", 0, -1).grep(/\A"#{jid}"/).any? }
    end
    process.signal(:TERM)
    process.wait_for_exit
    [outcome(client), client.keys("sidekiq_assured_jobs:*")]
  ensure
    client.close
  end

  it "end where plain Sidekiq puts them, byte for byte" do
    plain, = run(FetchHelpers::PLAIN_APP, 1, "Upgrade to Sidekiq Pro")
    ours, left = run(FetchHelpers::APP, 2, "jobs are tracked by assured fetch")

    expect(plain["echo"].size).to be >= 8
    expect(plain["dead"].size).to be >= 5
    plain.each { |where, items| expect(ours[where] == items).to be(true), difference(where, ours[where], items) }
    expect(left).to match_array(%w[sidekiq_assured_jobs:assured_classes sidekiq_assured_jobs:epoch])
  end

  def difference(where, ours, plain)
    return "#{where}: #{ours} and #{plain}" unless ours.is_a?(Array)

    alone = [ours - plain, plain - ours].map { |items| items.map { |item| item[0, 300] } }
    "#{where}: ours alone #{alone.first}, plain alone #{alone.last}"
  end
end
