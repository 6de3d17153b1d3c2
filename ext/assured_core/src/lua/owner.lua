-- Shared by the scripts that an instance runs on its own records. An id belongs to the process whose entry
-- stands in the registry; an entry that was written for an instance of the 1.x gem belongs to nobody.
local ADOPTED = '{"version":"1.x"}'

-- Whether the id is this process's, or nobody's.
local function owns(instances, id, entry)
  local registered = redis.call('HGET', instances, id)
  return not registered or registered == entry or registered == ADOPTED
end

-- The same before records are made: records of an id that is not registered would be found by no sweep, and
-- Redis may have lost the entry.
local function owns_registered(instances, id, entry)
  if not owns(instances, id, entry) then
    return false
  end
  if redis.call('HGET', instances, id) ~= entry then
    redis.call('HSET', instances, id, entry)
  end
  return true
end

local TAKEN = {err = 'TAKEN another process owns this instance id'}
