-- Pops jobs and records those that are assured, in one atomic step: there is no instant at which such a job is
-- nowhere. Serves several waiting threads at once; each brings its own order of queues.
--
-- Releases other records first: those that ended since the last round trip.
--
-- KEYS[1]       jobs:<id>    set      in-flight records of this instance
-- KEYS[2]       instances    hash     registry
-- KEYS[j+2]     job:<name>   string   payloads to release  (j = 1..m)
-- KEYS[m+3]     assured_classes   hash    names of the classes whose jobs are assured without the flag, too
-- KEYS[m+4]     job:         prefix of the payload keys: a job's name is known only once it is popped
-- KEYS[m+5...]  queue:<q>    list     all queues that anybody asks for
-- ARGV[1]       id
-- ARGV[2]       registry entry (JSON, unique to this process)
-- ARGV[3]       m
-- ARGV[j+3]     name to release
-- ARGV[m+4]     text that the payload of an assured job contains; a job of another class may contain it in its
--               arguments, which the caller finds out
-- ARGV[m+5]     length of what stands before a queue's name in its key
-- ARGV[m+2i+4]  what makes the spare name of the i-th thread's record unique
-- ARGV[m+2i+5]  the i-th thread's order of queues: positions in KEYS, comma-separated
-- Returns       for each thread that got a job: its number i, position of the queue in KEYS, payload, and the
--               record's name, or false where none was made; error TAKEN, and nothing was popped
local jobs, instances, releases = KEYS[1], KEYS[2], tonumber(ARGV[3])

if not owns_registered(instances, ARGV[1], ARGV[2]) then
  return TAKEN
end

drop(jobs, 3, 4, releases)

local classes, prefix = KEYS[releases + 3], KEYS[releases + 4]
local flag, before_name = ARGV[releases + 4], tonumber(ARGV[releases + 5])
local reply, empty = {}, {}
for i = 1, (#ARGV - 5 - releases) / 2 do
  local spare, order = ARGV[releases + 2 * i + 4], ARGV[releases + 2 * i + 5]
  for position in string.gmatch(order, '%d+') do
    local at = tonumber(position)
    local payload = not empty[at] and redis.pcall('RPOP', KEYS[at])
    if type(payload) == 'table' then
      -- What was popped already must reach the caller.
      return #reply > 0 and reply or payload
    end
    if payload then
      local queue = string.sub(KEYS[at], before_name + 1)
      reply[#reply + 1] = {i, at, payload, record(jobs, prefix, payload, flag, classes, spare, queue)}
      break
    end
    empty[at] = true
  end
end
return reply
