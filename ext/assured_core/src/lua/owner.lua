-- Shared by the scripts that an instance runs on its own records. An id belongs to the process whose entry
-- stands in the registry; an entry that was written for an instance of the 1.x gem belongs to nobody.
local ADOPTED = '{"version":"1.x"}'

-- What stands in the registry for an instance that has ended cleanly and left records. It tells a recovery that those
-- jobs have killed nobody.
local RETIRED = '"retired":true'
local function retired(entry)
  return string.sub(entry, 1, -2) .. ',' .. RETIRED .. '}'
end

-- Whether the id is this process's, or nobody's. One that has retired may still release what it left.
local function owns(instances, id, entry)
  local registered = redis.call('HGET', instances, id)
  return registered == entry or not registered or registered == ADOPTED or registered == retired(entry)
end

-- The same before records are made: records of an id that is not registered would be found by no sweep, and
-- Redis may have lost the entry.
local function owns_registered(instances, id, entry)
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

-- A Redis that is out of memory refuses a script's first write if it may take memory, and lets a script go on
-- that has written already. What is written here is little, and it is what lets jobs run and memory be freed.
local function begin_writing(jobs)
  redis.call('SREM', jobs, '')
end

