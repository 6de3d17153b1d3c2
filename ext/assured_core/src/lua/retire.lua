-- Ends an instance: by itself at a clean exit, or by a sweep once its last orphan is recovered. The registry keeps an
-- instance that still has records, so that the next sweep finds them, and says there whether it ended by itself. Asking
-- again gives the same answer, so a lost reply does no harm.
--
-- KEYS[1]  instance:<id>   string   heartbeat
-- KEYS[2]  jobs:<id>       set      in-flight records
-- KEYS[3]  instances       hash     registry
-- KEYS[4]  beats           hash     last beats
-- KEYS[5]  stats           hash     counters
-- ARGV[1]  id
-- ARGV[2]  registry entry when the instance retires itself, '' when a sweep does it
-- Returns  how many records are left; -1 when the id is alive or belongs to another process
local heartbeat, jobs, instances, beats, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, entry = ARGV[1], ARGV[2]
local registered = redis.call('HGET', instances, id)

if entry == '' then
  if is_alive(heartbeat, beats, id) then
    return -1
  end
elseif registered ~= entry and registered ~= retired(entry) then
  return -1
else
  redis.call('DEL', heartbeat)
end

local left = redis.call('SCARD', jobs)
redis.call('HDEL', beats, id)
if left > 0 then
  redis.call('HSET', beats, id, EXPIRED)
end
if left > 0 and entry ~= '' then
  redis.call('HSET', instances, id, retired(entry))
elseif left == 0 and redis.call('HDEL', instances, id) == 1 then
  local died = entry == '' and not string.find(registered, RETIRED, 1, true)
  if died then
    redis.pcall('HINCRBY', stats, 'instances_died', 1)
  end
end
return left
