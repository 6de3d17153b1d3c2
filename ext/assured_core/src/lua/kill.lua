-- Moves in-flight jobs into Sidekiq's Dead set and removes their records, in one atomic step. Serves the sweep (jobs of
-- a dead instance) and the owner itself (an attempt that ended without acknowledgement). A job that may not lie there
-- (`dead: false`) leaves its record for the list of deaths alone.
--
-- KEYS[1]     jobs:<id>       set          in-flight records
-- KEYS[2]     instance:<id>   string       heartbeat
-- KEYS[3]     verdict:<id>    string       left for the instance to find, if it still lives
-- KEYS[4]     dead            sorted set   Sidekiq's Dead set: payloads by unix time (seconds)
-- KEYS[5]     stats           hash         counters
-- KEYS[6]     deaths          list         payloads for whoever runs death handlers
-- KEYS[7]     beats           hash         last beats
-- KEYS[8]     instances       hash         registry
-- KEYS[i+8]   job:<name>      string       payload  (i = 1..n)
-- ARGV[1]     verdict value, or '' for the owner itself
-- ARGV[2]     lifetime of the verdict (milliseconds)
-- ARGV[3]     now (unix time, seconds)
-- ARGV[4]     what died before this leaves the Dead set (unix time, seconds)
-- ARGV[5]     how many jobs the Dead set keeps
-- ARGV[6]     id
-- ARGV[7]     registry entry of the owner, or ''
-- ARGV[4i+4]  name
-- ARGV[4i+5]  payload
-- ARGV[4i+6]  1 to keep it in the Dead set, else 0
-- ARGV[4i+7]  1 to have death handlers run, else 0
-- Returns     n times 1 (dead), 0 (no longer recorded here) or 2 (the Dead set or the list is none, stays recorded);
--             false when the instance has beaten since the verdict; error TAKEN
local jobs, heartbeat, verdict, dead, stats, deaths = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local by, verdict_ttl, now, oldest, limit = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local beats, instances, id, entry = KEYS[7], KEYS[8], ARGV[6], ARGV[7]

if by == '' then
  if not owns(instances, id, entry) then
    return TAKEN
  end
elseif is_alive(heartbeat, beats, id) then
  return false
end

begin_writing(jobs)
-- Looked at before anything is written: neither write may fail between the other and the removal of the record.
local kinds = {dead = redis.call('TYPE', dead).ok, deaths = redis.call('TYPE', deaths).ok}
local usable = (kinds.dead == 'none' or kinds.dead == 'zset') and (kinds.deaths == 'none' or kinds.deaths == 'list')

local dying = 0
for i = 1, #KEYS - 8 do
  if usable and ARGV[4 * i + 6] == '1' then
    dying = dying + redis.call('SISMEMBER', jobs, ARGV[4 * i + 4])
  end
end
if dying > 0 then
  -- Bounds as Sidekiq keeps them, but kept beforehand: what dies now stays, also where it is more than the bound, and
  -- where the clocks of those who died before it are ahead.
  redis.call('ZREMRANGEBYSCORE', dead, '-inf', '(' .. oldest)
  redis.call('ZREMRANGEBYRANK', dead, 0, -1 - math.max(limit - dying, 0))
end

local reply, killed = {}, 0
for i = 1, #KEYS - 8 do
  local name, payload, keep, notify = unpack(ARGV, 4 * i + 4, 4 * i + 7)
  reply[i] = redis.call('SISMEMBER', jobs, name)
  if reply[i] == 1 and not usable then
    reply[i] = 2
  elseif reply[i] == 1 then
    if keep == '1' then
      redis.call('ZADD', dead, now, payload)
    end
    if notify == '1' then
      redis.call('LPUSH', deaths, payload)
    end
    redis.call('SREM', jobs, name)
    redis.call('DEL', KEYS[i + 8])
    killed = killed + 1
  end
end

leave_verdict(verdict, by, verdict_ttl, stats, 'poisoned', killed)
return reply
