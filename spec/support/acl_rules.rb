# frozen_string_literal: true

# The smallest sets of rules that a Redis user needs. The README shows the same.
module AclRules
  # Where `redis_options` name a Redis for the records alone. SELECT is for another database than 0, ROLE is asked
  # where sentinels are.
  RECORDS = %w[
    ~sidekiq_assured_jobs:* +client|id +client|list +client|setname +del +evalsha +exists +get +hdel +hexists +hget
    +hgetall +hincrby +hkeys +hlen +hset +hsetnx +info +llen +lpush +pexpire +pttl +rpop +sadd +scan +scard
    +script|load +set +sismember +smembers +smismember +srem +sscan +strlen
  ].freeze

  # Those that only a long sweep (to renew its lock), a jid that is in flight twice, several releases at once, or a
  # poison job need.
  SELDOM = %w[lpush pexpire rpop sismember smismember type].freeze

  # What the engine needs besides where it shares Sidekiq's own Redis.
  QUEUES = %w[+blmove +lpush +rpop +rpush +type +zrangebyscore +zrem].freeze

  # What Sidekiq itself needs to run jobs. Its keys have no common beginning.
  SIDEKIQ = %w[
    ~* +bitfield +brpop +exec +exists +expire +hget +hmset +hset +incrby +info +lpush +multi +ping +rpop +rpush +sadd
    +script|load +srem +unlink +zadd +zcard +zremrangebyrank +zremrangebyscore
  ].freeze

  # Those of them that are not needed here: the first for the metrics of Sidekiq 7 and later, now and then; the second
  # for Sidekiq's own fetch; the others for Sidekiq 6.
  NEEDLESS = (%w[bitfield brpop] + (Sidekiq::VERSION.to_i == 6 ? [] : %w[hmset zcard])).freeze
end
