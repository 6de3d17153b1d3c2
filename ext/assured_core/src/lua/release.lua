-- Releases in-flight jobs. Membership is the claim: a record that is no longer ours was recovered by
-- somebody else, and its payload belongs to them.
--
-- KEYS[1]     jobs:<id>    set      in-flight records of this instance
-- KEYS[i+1]   job:<name>   string   payload  (i = 1..n)
-- ARGV[i]     name
-- Returns     how many were released
local jobs = KEYS[1]
local mine = redis.call('SMISMEMBER', jobs, unpack(ARGV))
local names, payloads = {}, {}

for i = 1, #ARGV do
  if mine[i] == 1 then
    names[#names + 1] = ARGV[i]
    payloads[#payloads + 1] = KEYS[i + 1]
  end
end
if #names > 0 then
  redis.call('SREM', jobs, unpack(names))
  redis.call('DEL', unpack(payloads))
end
return #names
