-- Releases in-flight jobs. Membership is the claim: a record that is no longer ours was recovered by
-- somebody else, and its payload belongs to them.
--
-- KEYS[1]     jobs:<id>    set      in-flight records of this instance
-- KEYS[2]     instances    hash     registry
-- KEYS[i+2]   job:<name>   string   payload  (i = 1..n)
-- ARGV[1]     id
-- ARGV[2]     registry entry (JSON, unique to this process); '' when a sweep has put the jobs back
-- ARGV[i+2]   name
-- Returns     how many were released; error TAKEN
local jobs, instances = KEYS[1], KEYS[2]
local names, payloads = {}, {}

if ARGV[2] ~= '' and not owns(instances, ARGV[1], ARGV[2]) then
  return TAKEN
end
local mine = redis.call('SMISMEMBER', jobs, unpack(ARGV, 3))
for i = 1, #mine do
  if mine[i] == 1 then
    names[#names + 1] = ARGV[i + 2]
    payloads[#payloads + 1] = KEYS[i + 2]
  end
end
if #names > 0 then
  redis.call('SREM', jobs, unpack(names))
  redis.call('DEL', unpack(payloads))
end
return #names
