-- Puts in-flight jobs back into their queues and removes their records, in one atomic step. Serves the
-- sweep (jobs of a dead instance) and the owner itself (jobs it gives back at shutdown). Jobs go to
-- the end of the queue that is popped next: they had their turn already.
--
-- KEYS[1]      jobs:<id>       set      in-flight records
-- KEYS[2]      instance:<id>   string   heartbeat
-- KEYS[3]      verdict:<id>    string   left for the instance to find, if it still lives
-- KEYS[4]      queues          set      Sidekiq's queue names
-- KEYS[2i+3]   job:<name>      string   payload  (i = 1..n)
-- KEYS[2i+4]   queue:<queue>   list
-- ARGV[1]      verdict value, or '' when the owner itself gives back
-- ARGV[2]      lifetime of the verdict (milliseconds)
-- ARGV[3i]     name
-- ARGV[3i+1]   queue name
-- ARGV[3i+2]   payload to push
-- Returns      n times 1 (queued) or 0 (no longer recorded here); false when the instance beats
local jobs, heartbeat, verdict, queues = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local by, verdict_ttl = ARGV[1], ARGV[2]

if by ~= '' and redis.call('EXISTS', heartbeat) == 1 then
  return false
end

local reply, seen = {}, {}
local queued = false
for i = 1, (#KEYS - 4) / 2 do
  local name, queue, payload = ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2]
  reply[i] = redis.call('SREM', jobs, name)
  if reply[i] == 1 then
    redis.call('RPUSH', KEYS[2 * i + 4], payload)
    redis.call('DEL', KEYS[2 * i + 3])
    if not seen[queue] then
      seen[queue] = true
      redis.call('SADD', queues, queue)
    end
    queued = true
  end
end
if by ~= '' and queued then
  redis.call('SET', verdict, by, 'PX', verdict_ttl)
end
return reply
