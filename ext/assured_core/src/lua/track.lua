-- Records in-flight jobs. A record is named after its jid; where that name already holds another
-- holder's payload, the record takes its spare name, so that no release removes what is not its own.
-- Asking again succeeds, so a lost reply does no harm.
--
-- KEYS[1]      jobs:<id>     set      in-flight records of this instance
-- KEYS[2]      instances     hash     registry
-- KEYS[2i+1]   job:<name>    string   payload under the wanted name  (i = 1..n)
-- KEYS[2i+2]   job:<spare>   string   payload under the spare name
-- ARGV[1]      id
-- ARGV[2]      registry entry (JSON, unique to this process)
-- ARGV[3i]     name
-- ARGV[3i+1]   spare name, unique to this attempt
-- ARGV[3i+2]   payload
-- Returns      n times 1 (recorded as name) or 2 (recorded as spare); error TAKEN
local jobs, instances = KEYS[1], KEYS[2]
local reply = {}

if not owns_registered(instances, ARGV[1], ARGV[2]) then
  return TAKEN
end
for i = 1, (#KEYS - 2) / 2 do
  local name, spare, payload = ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2]
  if redis.call('SET', KEYS[2 * i + 1], payload, 'NX') then
    redis.call('SADD', jobs, name)
    reply[i] = 1
  elseif redis.call('SISMEMBER', jobs, name) == 1 then
    redis.call('SET', KEYS[2 * i + 1], payload)
    reply[i] = 1
  else
    redis.call('SET', KEYS[2 * i + 2], payload)
    redis.call('SADD', jobs, spare)
    reply[i] = 2
  end
end
return reply
