-- Shared by the scripts of the heartbeat: keeps what the others need to see that its connection is closed.
--
-- A batch of an older connection may be executed after one of a newer: a server that hung reads both at once.
-- Client ids grow as long as the server runs, so the higher one is the newer.
local function note_connection(connections, id, connection)
  if connection == '' then
    redis.call('HDEL', connections, id)
    return
  end
  local noted = redis.call('HGET', connections, id)
  if noted == connection then
    return
  end
  local run, client = string.match(connection, '^(%S+) (%d+)$')
  local noted_run, noted_client = string.match(noted or '', '^(%S+) (%d+)$')
  if run ~= noted_run or tonumber(client) > tonumber(noted_client) then
    redis.call('HSET', connections, id, connection)
  end
end

