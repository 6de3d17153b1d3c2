-- Reads payloads up to a budget of bytes, so that a few huge ones do not fill anybody's memory.
--
-- KEYS[i]  job:<name>   string   payload
-- ARGV[1]  budget (bytes); the first payload is returned whatever its size
-- Returns  the payloads of the first keys, false where there is none or no string; fewer than asked for
--          when the budget is spent
local budget = tonumber(ARGV[1])
local reply = {}

for i = 1, #KEYS do
  local size = redis.pcall('STRLEN', KEYS[i])
  if type(size) ~= 'number' then
    reply[i] = false
  else
    if i > 1 and size > budget then
      break
    end
    budget = budget - size
    reply[i] = redis.call('GET', KEYS[i])
  end
end
return reply
