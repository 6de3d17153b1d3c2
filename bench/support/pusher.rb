# frozen_string_literal: true

# A client that enqueues one job after the other, each at a random instant after the one before has started, so that
# the process that runs them is idle in between. Reports when all have run.

require "json"
require "redis"

url, count, flag, *queues = ARGV
redis = Redis.new(url:)
random = Random.new(1)
clock = -> { Process.clock_gettime(Process::CLOCK_MONOTONIC) }

$stdout.sync = true
puts "ready"
$stdin.gets
Integer(count).times do |i|
  sleep random.rand(0.005..0.03)
  queue = queues.sample(random:)
  job = { retry: true, queue:, class: "LatencyJob", jid: format("%024x", i), created_at: Time.now.to_f,
          enqueued_at: Time.now.to_f }
  job[:assured_jobs] = true if flag == "assured"
  before = clock.call
  redis.lpush("queue:#{queue}", JSON.generate(job.merge(args: [before])))
  sleep 0.001 until redis.llen("bench:waits") > i || clock.call - before > 10
end
puts JSON.generate(redis.lrange("bench:waits", 0, -1).map(&:to_f))
