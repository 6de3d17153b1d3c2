-- Shared by the scripts that release records. Membership is the claim: a record that is no longer ours was
-- recovered by somebody else, and its payload belongs to them.
--
-- Releases the `count` records whose names begin at ARGV[arg], and their payloads at KEYS[key]; returns how
-- many were ours.
local function drop(jobs, key, arg, count)
  if count == 0 then
    return 0
  end
  if count == 1 then
    local ours = redis.call('SREM', jobs, ARGV[arg])
    if ours == 1 then
      redis.call('DEL', KEYS[key])
    end
    return ours
  end

  local mine = redis.call('SMISMEMBER', jobs, unpack(ARGV, arg, arg + count - 1))
  local names, payloads = {}, {}
  for i = 1, count do
    if mine[i] == 1 then
      names[#names + 1] = ARGV[arg + i - 1]
      payloads[#payloads + 1] = KEYS[key + i - 1]
    end
  end
  if #names > 0 then
    redis.call('SREM', jobs, unpack(names))
    redis.call('DEL', unpack(payloads))
  end
  return #names
end

