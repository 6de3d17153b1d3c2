# frozen_string_literal: true

# Orphans of dead instances, as killed processes leave them, and the proof that they came back.
class Orphans
  QUEUES = %w[critical default low mailers].freeze
  SLICE = 500

  # @param redis [Redis]
  # @param count [Integer] how many orphans
  # @param instances [Integer] how many dead instances share them
  def initialize(redis, count:, instances:)
    @redis = redis
    @jids = Array.new(count) { |i| format("%024x", i) }
    @ids = Array.new(instances) { |i| "worker-#{i}:#{1000 + i}:0123456789ab" }
  end

  # @return [void]
  def seed
    @redis.mapped_hmset(key("instances"), @ids.to_h { |id| [id, JSON.generate(host: id, pid: 1, version: "2.0.0")] })
    @jids.each_slice(SLICE).with_index do |jids, slice|
      @redis.mapped_mset(jids.to_h { |jid| [key("job:#{jid}"), payload(jid)] })
      @redis.sadd(key("jobs:#{@ids[slice % @ids.size]}"), jids)
    end
  end

  # @return [Array<Hash>] payloads in the queues
  # @raise [RuntimeError] unless every orphan is in its queue exactly once and no record is left
  def verify
    payloads = QUEUES.flat_map { |queue| @redis.lrange("queue:#{queue}", 0, -1) }.map { |json| JSON.parse(json) }
    jids = payloads.map { |payload| payload["jid"] }
    raise "#{jids.size} jobs are queued, #{jids.uniq.size} distinct, of #{@jids.size}" if jids.sort != @jids
    raise "#{records_left} keys of the gem are left" if records_left.positive?

    payloads
  end

  # Makes room for the next round.
  #
  # @return [void]
  def clear
    @redis.unlink(*QUEUES.map { |queue| "queue:#{queue}" }, "queues", *@ids.map { |id| key("verdict:#{id}") })
  end

  private

  def records_left
    names = @jids.map { |jid| key("job:#{jid}") } + @ids.map { |id| key("jobs:#{id}") } + [key("instances")]
    names.each_slice(SLICE).sum { |slice| @redis.exists(*slice) }
  end

  def payload(jid)
    now = Time.now.to_f
    JSON.generate(
      retry: true, queue: QUEUES[jid.hex % QUEUES.size], class: "Billing::InvoiceDeliveryJob",
      args: [jid.hex, { "locale" => "en", "recipients" => ["first@example.com", "second@example.com"],
                        "document" => "invoices/2024/#{jid}.pdf", "amounts" => [1999, 250, 0.19] }],
      jid:, created_at: now, tags: %w[billing mail], assured_jobs: true, enqueued_at: now
    )
  end

  def key(name)
    "#{Bench::NAMESPACE}:#{name}"
  end
end
