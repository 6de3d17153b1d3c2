-- Takes an instance id, if that name is free: it has neither a heartbeat nor in-flight jobs.
-- Asking again with the same registry entry succeeds, so a lost reply does no harm.
--
-- KEYS[1]  instance:<id>   string   heartbeat
-- KEYS[2]  jobs:<id>       set      in-flight records
-- KEYS[3]  instances       hash     registry
-- KEYS[4]  verdict:<id>    string   meant for the previous owner of the name, if any
-- KEYS[5]  beats           hash     last beats
-- KEYS[6]  epoch           string   names this data
-- ARGV[1]  id
-- ARGV[2]  registry entry (JSON, unique to this process)
-- ARGV[3]  heartbeat value (unix time, seconds)
-- ARGV[4]  heartbeat_ttl (milliseconds)
-- ARGV[5]  the beat for `beats`
-- ARGV[6]  name for the data, if it has none
-- Returns  the data's name, or false: the id is taken
local heartbeat, jobs, instances, verdict, beats = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, entry, now, ttl, beat = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if redis.call('HGET', instances, id) ~= entry then
  if redis.call('EXISTS', heartbeat, jobs) > 0 then
    return false
  end
  -- Deleted first: a Redis that is out of memory lets a script go on that has written already.
  redis.call('DEL', verdict)
  redis.call('HDEL', beats, id)
  redis.call('HSET', instances, id, entry)
end
redis.call('DEL', heartbeat)
redis.call('SET', heartbeat, now, 'PX', ttl)
note_beat(beats, id, beat)
return name_data(KEYS[6], ARGV[6])
