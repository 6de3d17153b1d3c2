-- Moves the job of an attempt that ended without acknowledgement into Sidekiq's set of retries and removes its record,
-- in one atomic step.
--
-- KEYS[1]  jobs:<id>    set          in-flight records of this instance
-- KEYS[2]  instances    hash         registry
-- KEYS[3]  job:<name>   string       payload
-- KEYS[4]  retry        sorted set   Sidekiq's retries: payloads by the unix time (seconds) at which they are due
-- KEYS[5]  stats        hash         counters
-- ARGV[1]  id
-- ARGV[2]  registry entry (JSON, unique to this process)
-- ARGV[3]  name
-- ARGV[4]  when it is due (unix time, seconds)
-- ARGV[5]  payload
-- Returns  1 (it is a retry), 0 (no longer recorded here) or 2 (the set takes none, it stays recorded); error TAKEN
local jobs, instances, record, retries, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, entry, name, due, payload = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if not owns(instances, id, entry) then
  return TAKEN
end

begin_writing(jobs)
if redis.call('SISMEMBER', jobs, name) == 0 then
  return 0
end
-- What the server refuses everybody, it has refused above: this user may not, or there is something else.
if type(redis.pcall('ZADD', retries, due, payload)) ~= 'number' then
  return 2
end
redis.call('SREM', jobs, name)
redis.call('DEL', record)
redis.pcall('HINCRBY', stats, 'unacknowledged', 1)
return 1
