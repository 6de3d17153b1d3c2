-- Adds assured classes, also where Redis is out of memory: a script may go on that has written already.
--
-- KEYS[1]     assured_classes   hash   how often the jobs of each class may be recovered
-- ARGV[2i-1]  class
-- ARGV[2i]    limit, or ''
-- Returns     nothing
redis.call('HDEL', KEYS[1], '')
for i = 1, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
