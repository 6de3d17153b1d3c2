-- Deletes a string if it has this value: the recovery lock by its owner, a verdict by who acted on it.
--
-- KEYS[1]  recovery_lock or verdict:<id>   string
-- ARGV[1]  value
-- Returns  1 deleted, 0 it has another value by now
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
