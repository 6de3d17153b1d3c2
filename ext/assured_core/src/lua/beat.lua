-- One heartbeat, and a look at whether this instance is still what it thinks it is. Asking again gives the
-- same answer, so a lost reply does no harm; a verdict stays until the instance has acted on it.
--
-- KEYS[1]  instance:<id>   string   heartbeat
-- KEYS[2]  instances       hash     registry
-- KEYS[3]  verdict:<id>    string   tells this instance that it was declared dead
-- KEYS[4]  beats           hash     last beats
-- KEYS[5]  epoch           string   names this data: another one stands there after Redis has lost all of it
-- ARGV[1]  id
-- ARGV[2]  registry entry (JSON, unique to this process)
-- ARGV[3]  heartbeat value (unix time, seconds)
-- ARGV[4]  heartbeat_ttl (milliseconds)
-- ARGV[5]  the beat for `beats`
-- ARGV[6]  name for the data, if it has none
-- ARGV[7]  the name that it had at the last beat, or ''
-- Returns  0 beaten, 1 the id is another process's now and nothing was written; the verdict, or false; the data's name
local heartbeat, instances, verdict, beats = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, entry, now, ttl, beat, known = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[7]

if not owns_registered(instances, id, entry) then
  return {1, false, ''}
end
-- Deleted first: see begin_writing in owner.lua.
redis.call('DEL', heartbeat)
redis.call('SET', heartbeat, now, 'PX', ttl)

local epoch = name_data(KEYS[5], ARGV[6])
local noted = redis.call('HGET', beats, id)
-- An instance that has no last beat in data that has had one left the registry after a verdict.
if noted == EXPIRED or (not noted and epoch == known) then
  redis.call('SET', verdict, noted or 'gone', 'PX', ttl, 'NX')
end
note_beat(beats, id, beat)
return {0, redis.call('GET', verdict), epoch}
