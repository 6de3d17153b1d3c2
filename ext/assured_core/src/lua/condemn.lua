-- Takes the heartbeat from an instance whose connection is closed, if nothing of what was seen has changed:
-- from here on it is dead to everybody, as if the heartbeat had expired.
--
-- KEYS[1]  instance:<id>   string   heartbeat
-- KEYS[2]  connections     hash     connections of the heartbeats
-- ARGV[1]  id
-- ARGV[2]  heartbeat, as it was seen
-- ARGV[3]  connection, as it was seen
-- Returns  1 condemned, 0 it has beaten or connected since
local heartbeat, connections = KEYS[1], KEYS[2]
local id, beat, connection = ARGV[1], ARGV[2], ARGV[3]

if redis.call('GET', heartbeat) ~= beat or redis.call('HGET', connections, id) ~= connection then
  return 0
end
redis.call('HDEL', connections, id)
return redis.call('DEL', heartbeat)
