-- One heartbeat, and a look at whether this instance is still what it thinks it is. Asking again gives the
-- same answer, so a lost reply does no harm; a verdict stays until the instance has acted on it.
--
-- KEYS[1]  instance:<id>   string   heartbeat
-- KEYS[2]  instances       hash     registry
-- KEYS[3]  verdict:<id>    string   set by whoever recovered from this instance
-- KEYS[4]  connections     hash     connections of the heartbeats
-- ARGV[1]  id
-- ARGV[2]  registry entry (JSON, unique to this process)
-- ARGV[3]  heartbeat value (unix time, seconds)
-- ARGV[4]  heartbeat_ttl (milliseconds)
-- ARGV[5]  the connection that this comes through (run id, client id), or ''
-- Returns  0 beaten, 1 the id is another process's now and nothing was written; the verdict, or false; and whether the
--          last heartbeat was still there
local heartbeat, instances, verdict = KEYS[1], KEYS[2], KEYS[3]
local id, entry, now, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if not owns_registered(instances, id, entry) then
  return {1, false, 0}
end
-- Deleted first: see begin_writing in owner.lua.
local there = redis.call('DEL', heartbeat)
redis.call('SET', heartbeat, now, 'PX', ttl)
note_connection(KEYS[4], id, ARGV[5])
return {0, redis.call('GET', verdict), there}
