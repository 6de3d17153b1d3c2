-- Releases in-flight jobs, then records others. A record is named after its jid; where that name already holds another
-- holder's payload, the record takes its spare name, so that no release removes what is not its own.
-- Asking again succeeds, so a lost reply does no harm.
--
-- KEYS[1]          jobs:<id>     set      in-flight records of this instance
-- KEYS[2]          instances     hash     registry
-- KEYS[j+2]        job:<name>    string   payloads to release  (j = 1..m)
-- KEYS[m+2i+1]     job:<name>    string   payload under the wanted name  (i = 1..n)
-- KEYS[m+2i+2]     job:<spare>   string   payload under the spare name
-- ARGV[1]          id
-- ARGV[2]          registry entry (JSON, unique to this process)
-- ARGV[3]          m
-- ARGV[j+3]        name to release
-- ARGV[m+3i+1]     name
-- ARGV[m+3i+2]     spare name, unique to this attempt
-- ARGV[m+3i+3]     payload
-- Returns          n times 1 (recorded as name) or 2 (recorded as spare); error TAKEN
local jobs, instances, releases = KEYS[1], KEYS[2], tonumber(ARGV[3])
local reply = {}

begin_writing(jobs)
if not owns_registered(instances, ARGV[1], ARGV[2]) then
  return TAKEN
end
drop(jobs, 3, 4, releases)

for i = 1, (#KEYS - 2 - releases) / 2 do
  local key, arg = releases + 2 * i + 1, releases + 3 * i + 1
  local name, spare, payload = ARGV[arg], ARGV[arg + 1], ARGV[arg + 2]
  if redis.call('SET', KEYS[key], payload, 'NX') then
    redis.call('SADD', jobs, name)
    reply[i] = 1
  elseif redis.call('SISMEMBER', jobs, name) == 1 then
    redis.call('SET', KEYS[key], payload)
    reply[i] = 1
  else
    redis.call('SET', KEYS[key + 1], payload)
    redis.call('SADD', jobs, spare)
    reply[i] = 2
  end
end
return reply
