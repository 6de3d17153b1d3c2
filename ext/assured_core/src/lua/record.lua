-- Shared by the scripts that pop jobs: they record what they popped, in the same atomic step.
--
-- A look at the text is enough where it cannot be mistaken: the key stands there once. Decoding is dear.

local function decoded(payload)
  local parsed, job = pcall(cjson.decode, payload)
  return parsed and type(job) == 'table' and job or {}
end

-- The value of a top-level key that is a string; nil where it is none.
local function text_of(payload, key)
  local quoted = '"' .. key .. '"'
  local _, last = string.find(payload, quoted, 1, true)
  if last and not string.find(payload, quoted, last + 1, true) then
    local value = string.match(payload, '^%s*:%s*"([^"\\]*)"', last + 1)
    if value then
      return value
    end
  end
  local value = decoded(payload)[key]
  return type(value) == 'string' and value or nil
end

-- Whether the text of a payload gives an assured class, be it in its arguments.
local function may_be_assured(payload, classes, key)
  local quoted, at = '"' .. key .. '"', 1
  for _ = 1, 3 do
    local _, last = string.find(payload, quoted, at, true)
    if not last then
      return false
    end
    local name = string.match(payload, '^%s*:%s*"([^"\\]*)"', last + 1)
    if not name or redis.call('HEXISTS', classes, name) == 1 then
      return true
    end
    at = last + 1
  end
  return true
end

-- Whether a payload says that its job is assured, or its class is: a job that was pushed by the name of its class, or
-- before the deploy that made it assured, says nothing.
local function is_assured(payload, flag, classes)
  if string.find(payload, flag, 1, true) then
    return true
  end
  if not may_be_assured(payload, classes, 'class') and not may_be_assured(payload, classes, 'wrapped') then
    return false
  end
  local name = text_of(payload, 'wrapped') or text_of(payload, 'class')
  return name ~= nil and redis.call('HEXISTS', classes, name) == 1
end

-- Records a job that was popped just now, if it is assured, and returns the record's name. False also where Redis takes
-- no more writes (out of memory): the job has left its queue, so it must reach the caller in any case, as it would
-- without us. `queue` is where it was popped from, nil for a job that was in none: it stands in front of a payload that
-- names another one.
local function record(jobs, prefix, payload, flag, classes, spare, queue)
  if not is_assured(payload, flag, classes) then
    return false
  end
  local text = payload
  if queue and text_of(payload, 'queue') ~= queue then
    text = 'queue ' .. #queue .. ' ' .. queue .. '\n' .. payload
  end
  local name = text_of(payload, 'jid') or ''
  local written = name ~= '' and redis.pcall('SET', prefix .. name, text, 'NX')
  if not written then
    name = name .. spare
    written = redis.pcall('SET', prefix .. name, text)
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

