-- Puts in-flight jobs back into their queues and removes their records, in one atomic step. Serves the
-- sweep (jobs of a dead instance) and the owner itself (jobs it gives back, or that have become due). A job
-- that had its turn already goes to the end of the queue that is popped next.
--
-- KEYS[1]      jobs:<id>       set      in-flight records
-- KEYS[2]      instance:<id>   string   heartbeat
-- KEYS[3]      verdict:<id>    string   left for the instance to find, if it still lives
-- KEYS[4]      queues          set      Sidekiq's queue names
-- KEYS[5]      instances       hash     registry
-- KEYS[6]      stats           hash     counters
-- KEYS[7]      beats           hash     last beats
-- KEYS[2i+6]   job:<name>      string   payload  (i = 1..n)
-- KEYS[2i+7]   queue:<queue>   list
-- ARGV[1]      verdict value, or '' when the owner itself gives back
-- ARGV[2]      lifetime of the verdict (milliseconds)
-- ARGV[3]      id
-- ARGV[4]      registry entry of the owner, or ''
-- ARGV[5]      RPUSH, or LPUSH for jobs that had no turn yet
-- ARGV[3i+3]   name
-- ARGV[3i+4]   queue name
-- ARGV[3i+5]   payload to push
-- Returns      n times 1 (queued), 0 (no longer recorded here) or 2 (its queue is no list, stays recorded);
--              false when the instance has beaten since the verdict; error TAKEN
local jobs, heartbeat, verdict, queues, instances = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local stats = KEYS[6]
local by, verdict_ttl, id, entry, push = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if by == '' then
  if not owns(instances, id, entry) then
    return TAKEN
  end
elseif is_alive(heartbeat, KEYS[7], id) then
  return false
end

begin_writing(jobs)
local reply, seen, queued = {}, {}, 0
local function told(answer)
  if by ~= '' then
    leave_verdict(verdict, by, verdict_ttl, stats, 'recovered', queued)
  end
  return answer
end

for i = 1, (#KEYS - 7) / 2 do
  local name, queue, payload = ARGV[3 * i + 3], ARGV[3 * i + 4], ARGV[3 * i + 5]
  reply[i] = redis.call('SISMEMBER', jobs, name)
  if reply[i] == 1 then
    -- Pushed before anything is removed: an error must not end between the two.
    local pushed = redis.pcall(push, KEYS[2 * i + 7], payload)
    if type(pushed) == 'number' then
      redis.call('SREM', jobs, name)
      redis.call('DEL', KEYS[2 * i + 6])
      if not seen[queue] then
        seen[queue] = true
        redis.pcall('SADD', queues, queue)
      end
      queued = queued + 1
    elseif string.find(pushed.err, 'WRONGTYPE', 1, true) then
      reply[i] = 2
    else
      return told(pushed)
    end
  end
end
return told(reply)
