-- Gives the verdict on an instance: takes its signs of life away, if it has given none since it was seen. From here on
-- it is dead to everybody, until it beats again.
--
-- KEYS[1]  instance:<id>   string   heartbeat
-- KEYS[2]  beats           hash     last beats
-- KEYS[3]  instances       hash     registry
-- ARGV[1]  id
-- ARGV[2]  last beat, as it was seen; '' where there was none
-- ARGV[3]  heartbeat, as it was seen; '' where there was none. Left out: the last beat tells enough
-- Returns  1 it is dead, 0 it has beaten since, or left the registry
local heartbeat, beats, instances = KEYS[1], KEYS[2], KEYS[3]
local id = ARGV[1]

-- What is missing is no sign of life.
local function has_changed(value, seen)
  return seen and value and value ~= seen
end

if has_changed(redis.call('HGET', beats, id), ARGV[2]) or has_changed(redis.call('GET', heartbeat), ARGV[3]) then
  return 0
end
if redis.call('HEXISTS', instances, id) == 0 then
  return 0
end
-- Deleted first: see begin_writing in owner.lua.
redis.call('DEL', heartbeat)
redis.call('HSET', beats, id, EXPIRED)
return 1
