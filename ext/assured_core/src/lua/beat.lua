-- One heartbeat, and a look at whether this instance is still what it thinks it is.
--
-- KEYS[1]  instance:<id>   string   heartbeat
-- KEYS[2]  instances       hash     registry
-- KEYS[3]  verdict:<id>    string   set by whoever recovered from this instance
-- ARGV[1]  id
-- ARGV[2]  registry entry (JSON, unique to this process)
-- ARGV[3]  heartbeat value (unix time, seconds)
-- ARGV[4]  heartbeat_ttl (milliseconds)
-- Returns  'ok'         as expected
--          'declared'   this instance was declared dead; it is registered again
--          'forgotten'  Redis lost the registration; it is registered again
--          'taken'      another process owns the id now; nothing was written
local heartbeat, instances, verdict = KEYS[1], KEYS[2], KEYS[3]
local id, entry, now, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local registered = redis.call('HGET', instances, id)
if registered and registered ~= entry then
  return 'taken'
end

redis.call('SET', heartbeat, now, 'PX', ttl)
if not registered then
  redis.call('HSET', instances, id, entry)
end
if redis.call('DEL', verdict) == 1 then
  return 'declared'
end
return registered and 'ok' or 'forgotten'
