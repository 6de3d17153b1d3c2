-- Pops jobs and records those that are assured, in one atomic step: there is no instant at which such a job is
-- nowhere. Serves several waiting threads at once; each brings its own order of queues.
--
-- KEYS[1]     jobs:<id>    set      in-flight records of this instance
-- KEYS[2]     instances    hash     registry
-- KEYS[3]     job:         prefix of the payload keys: a job's name is known only once it is popped
-- KEYS[4...]  queue:<q>    list     all queues that anybody asks for
-- ARGV[1]     id
-- ARGV[2]     registry entry (JSON, unique to this process)
-- ARGV[3]     text that the payload of an assured job contains; a job of another class may contain it in its
--             arguments, which the caller finds out
-- ARGV[2i+2]  what makes the spare name of the i-th thread's record unique
-- ARGV[2i+3]  the i-th thread's order of queues: positions in KEYS, comma-separated
-- Returns     for each thread that got a job: its number i, position of the queue in KEYS, payload, and the
--             record's name, or false where none was made; error TAKEN, and nothing was popped
local jobs, instances, prefix = KEYS[1], KEYS[2], KEYS[3]
if not owns_registered(instances, ARGV[1], ARGV[2]) then
  return TAKEN
end

local reply, empty = {}, {}
for i = 1, (#ARGV - 3) / 2 do
  for position in string.gmatch(ARGV[2 * i + 3], '%d+') do
    local at = tonumber(position)
    local payload = not empty[at] and redis.pcall('RPOP', KEYS[at])
    if type(payload) == 'table' then
      -- What was popped already must reach the caller.
      return #reply > 0 and reply or payload
    end
    if payload then
      reply[#reply + 1] = {i, at, payload, record(jobs, prefix, payload, ARGV[3], ARGV[2 * i + 2])}
      break
    end
    empty[at] = true
  end
end
return reply
