-- Shared by the scripts that pop jobs: they record what they popped, in the same atomic step.

-- The name is a label, so a quick look is enough where it cannot be mistaken.
local function jid_of(payload)
  local _, last, jid = string.find(payload, '"jid":"([^"\\]*)"')
  if jid and not string.find(payload, '"jid":', last, true) then
    return jid
  end
  local parsed, job = pcall(cjson.decode, payload)
  if parsed and type(job) == 'table' and type(job.jid) == 'string' then
    return job.jid
  end
  return ''
end

-- Records a job that was popped just now, if its payload contains `flag`, and returns the record's name. False
-- also where Redis takes no more writes (out of memory): the job has left its queue, so it must reach the
-- caller in any case, as it would without us.
local function record(jobs, prefix, payload, flag, spare)
  if not string.find(payload, flag, 1, true) then
    return false
  end
  local name = jid_of(payload)
  local written = name ~= '' and redis.pcall('SET', prefix .. name, payload, 'NX')
  if not written then
    name = name .. spare
    written = redis.pcall('SET', prefix .. name, payload)
  end
  if written.err then
    return false
  end
  if type(redis.pcall('SADD', jobs, name)) ~= 'number' then
    redis.call('DEL', prefix .. name)
    return false
  end
  return name
end

