-- Takes an instance id, if that name is free: it has neither a heartbeat nor in-flight jobs.
-- Asking again with the same registry entry succeeds, so a lost reply does no harm.
--
-- KEYS[1]  instance:<id>   string   heartbeat
-- KEYS[2]  jobs:<id>       set      in-flight records
-- KEYS[3]  instances       hash     registry
-- KEYS[4]  verdict:<id>    string   meant for the previous owner of the name, if any
-- KEYS[5]  connections     hash     connections of the heartbeats
-- ARGV[1]  id
-- ARGV[2]  registry entry (JSON, unique to this process)
-- ARGV[3]  heartbeat value (unix time, seconds)
-- ARGV[4]  heartbeat_ttl (milliseconds)
-- ARGV[5]  the connection that this comes through (run id, client id), or ''
-- Returns  1 claimed, 0 the name is taken
local heartbeat, jobs, instances, verdict, connections = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, entry, now, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if redis.call('HGET', instances, id) ~= entry then
  if redis.call('EXISTS', heartbeat, jobs) > 0 then
    return 0
  end
  -- Deleted first: a Redis that is out of memory lets a script go on that has written already.
  redis.call('DEL', verdict)
  redis.call('HDEL', connections, id)
  redis.call('HSET', instances, id, entry)
end
redis.call('DEL', heartbeat)
redis.call('SET', heartbeat, now, 'PX', ttl)
note_connection(connections, id, ARGV[5])
return 1
