-- Prolongs the recovery lock, for its owner only.
--
-- KEYS[1]  recovery_lock   string   owner token
-- ARGV[1]  token
-- ARGV[2]  recovery_lock_ttl (milliseconds)
-- Returns  1 prolonged, 0 the lock is not ours
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
