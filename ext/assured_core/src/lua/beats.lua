-- Shared by the scripts that write heartbeats, or judge by them. `instance:<id>` may be evicted or deleted, and a server
-- whose clock is stepped forgets it too early or keeps it too long. So the last beat stands in the hash `beats`, too:
-- `<number> <unix time> <run id of the server> <client id>`, the latter two where the connection is known. The
-- instance numbers its beats itself.

-- Stands there once a verdict has fallen, until the instance beats again or leaves the registry.
local EXPIRED = 'expired'

-- A beat of an older connection may be executed after one of a newer: a server that hung reads both at once.
local function note_beat(beats, id, beat)
  local noted = string.match(redis.call('HGET', beats, id) or '', '^%d+')
  if not noted or tonumber(noted) <= tonumber(string.match(beat, '^%d+')) then
    redis.call('HSET', beats, id, beat)
  end
end

-- Whether there is any sign of life. A verdict takes all of them away (`expire.lua`), so any is a new one.
local function is_alive(heartbeat, beats, id)
  local beat = redis.call('HGET', beats, id)
  return beat and beat ~= EXPIRED or redis.call('EXISTS', heartbeat) == 1
end

-- The name of all this data; it gets one where it has none.
local function name_data(epoch, name)
  redis.call('SET', epoch, name, 'NX')
  return redis.call('GET', epoch)
end

