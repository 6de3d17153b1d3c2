-- Gives the recovery lock back, for its owner only.
--
-- KEYS[1]  recovery_lock   string   owner token
-- ARGV[1]  token
-- Returns  1 freed, 0 the lock is not ours
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
