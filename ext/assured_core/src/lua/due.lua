-- Pops the job of a sorted set that has been due longest, and records it if it is assured, in one atomic step:
-- from here until it is in its queue a crash would lose it.
--
-- KEYS[1]  jobs:<id>            set           in-flight records of this instance
-- KEYS[2]  instances            hash          registry
-- KEYS[3]  assured_classes      hash          names of the classes whose jobs are assured without the flag, too
-- KEYS[4]  job:                 prefix of the payload keys: a job's name is known only once it is popped
-- KEYS[5]  retry or schedule    sorted set    payloads by the unix time (seconds) at which they are due
-- ARGV[1]  id
-- ARGV[2]  registry entry (JSON, unique to this process)
-- ARGV[3]  text that the payload of an assured job contains
-- ARGV[4]  what makes the spare name of the record unique
-- ARGV[5]  now (unix time, seconds)
-- Returns  payload and the record's name, or false where none was made; false when no job is due; error TAKEN
local jobs, instances, classes, prefix, set = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

if not owns_registered(instances, ARGV[1], ARGV[2]) then
  return TAKEN
end

local payload = redis.call('ZRANGEBYSCORE', set, '-inf', ARGV[5], 'LIMIT', 0, 1)[1]
if not payload then
  return false
end
redis.call('ZREM', set, payload)
return {payload, record(jobs, prefix, payload, ARGV[3], classes, ARGV[4], nil)}
