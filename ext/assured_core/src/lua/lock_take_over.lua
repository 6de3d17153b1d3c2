-- Takes the recovery lock from a holder that is known to be dead.
--
-- KEYS[1]  recovery_lock   string   owner token
-- ARGV[1]  token of the dead holder, as it was seen
-- ARGV[2]  token of the new holder
-- ARGV[3]  recovery_lock_ttl (milliseconds)
-- Returns  1 taken over, 0 somebody was faster
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
