-- Ends records of a dead instance whose jobs were put into another Redis. Asking again changes nothing more, so a
-- lost reply does no harm.
--
-- KEYS[1]     jobs:<id>      set      in-flight records
-- KEYS[2]     verdict:<id>   string   left for the instance to find, if it still lives
-- KEYS[3]     stats          hash     counters
-- KEYS[4]     deaths         list     payloads for whoever runs death handlers
-- KEYS[i+4]   job:<name>     string   payload  (i = 1..n)
-- ARGV[1]     verdict value
-- ARGV[2]     lifetime of the verdict (milliseconds)
-- ARGV[3]     counter
-- ARGV[2i+2]  name
-- ARGV[2i+3]  payload for death handlers, or ''
-- Returns     how many records were there
local jobs, verdict, stats, deaths = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local by, verdict_ttl, counter = ARGV[1], ARGV[2], ARGV[3]

begin_writing(jobs)
local settled = 0
for i = 1, #KEYS - 4 do
  local name, death = ARGV[2 * i + 2], ARGV[2 * i + 3]
  if redis.call('SISMEMBER', jobs, name) == 1 then
    if death ~= '' then
      -- Where it is no list, the record has to end all the same: the job is in the Dead set already.
      redis.pcall('LPUSH', deaths, death)
    end
    redis.call('SREM', jobs, name)
    redis.call('DEL', KEYS[i + 4])
    settled = settled + 1
  end
end
leave_verdict(verdict, by, verdict_ttl, stats, counter, settled)
return settled
