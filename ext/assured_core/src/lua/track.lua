-- Records in-flight jobs. A record is named after its jid; where that name already holds another
-- holder's payload, the record takes its spare name, so that no release removes what is not its own.
-- Asking again succeeds with the same names, so a lost reply does no harm.
--
-- KEYS[1]      jobs:<id>     set      in-flight records of this instance
-- KEYS[2i]     job:<name>    string   payload under the wanted name  (i = 1..n)
-- KEYS[2i+1]   job:<spare>   string   payload under the spare name
-- ARGV[3i-2]   name
-- ARGV[3i-1]   spare name, unique to this attempt
-- ARGV[3i]     payload
-- Returns      n times 1 (recorded as name) or 2 (recorded as spare)
local jobs = KEYS[1]
local reply = {}

for i = 1, (#KEYS - 1) / 2 do
  local name, spare, payload = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
  if redis.call('SET', KEYS[2 * i], payload, 'NX') then
    redis.call('SADD', jobs, name)
    reply[i] = 1
  elseif redis.call('SISMEMBER', jobs, name) == 1 then
    redis.call('SET', KEYS[2 * i], payload)
    reply[i] = 1
  else
    redis.call('SET', KEYS[2 * i + 1], payload)
    redis.call('SADD', jobs, spare)
    reply[i] = 2
  end
end
return reply
