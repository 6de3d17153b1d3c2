-- Shared by the scripts that an instance runs on its own records. An id belongs to the process whose entry
-- stands in the registry; an entry that was written for an instance of the 1.x gem belongs to nobody.
local ADOPTED = '{"version":"1.x"}'

-- Whether the id is registered for this process. Registers it where nobody is: Redis may have lost the
-- entry, and records of an unregistered instance would be found by no sweep.
local function owns(instances, id, entry)
  local registered = redis.call('HGET', instances, id)
  if registered == entry then
    return true
  end
  if registered and registered ~= ADOPTED then
    return false
  end
  redis.call('HSET', instances, id, entry)
  return true
end

local TAKEN = {err = 'TAKEN another process owns this instance id'}
