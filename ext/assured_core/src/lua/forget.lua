-- Drops a record whose payload is gone (evicted, or deleted by hand): nothing is left to recover.
--
-- KEYS[1]  jobs:<id>    set      in-flight records
-- KEYS[2]  job:<name>   string   payload
-- ARGV[1]  name
-- Returns  1 dropped, 0 the record or its payload changed meanwhile
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end
return redis.call('SREM', KEYS[1], ARGV[1])
