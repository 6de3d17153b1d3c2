-- Releases in-flight jobs whose release was sent before and may have been executed: a later attempt may have a record
-- of the same name by now, with another payload.
--
-- KEYS[1]     jobs:<id>    set      in-flight records of this instance
-- KEYS[2]     instances    hash     registry
-- KEYS[i+2]   job:<name>   string   payload  (i = 1..n)
-- ARGV[1]     id
-- ARGV[2]     registry entry (JSON, unique to this process)
-- ARGV[2i+1]  name
-- ARGV[2i+2]  payload
-- Returns     how many were released; error TAKEN
if not owns(KEYS[2], ARGV[1], ARGV[2]) then
  return TAKEN
end

-- A record may begin with the queue that the job was popped from, see record.lua.
local function holds(record, payload)
  return record == payload or
    (record and string.sub(record, 1, 6) == 'queue ' and string.sub(record, -#payload - 1) == '\n' .. payload)
end

local released = 0
for i = 1, #KEYS - 2 do
  local name, payload = ARGV[2 * i + 1], ARGV[2 * i + 2]
  if holds(redis.call('GET', KEYS[i + 2]), payload) and redis.call('SREM', KEYS[1], name) == 1 then
    redis.call('DEL', KEYS[i + 2])
    released = released + 1
  end
end
return released
