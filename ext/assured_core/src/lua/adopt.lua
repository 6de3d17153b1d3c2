-- Registers an instance of the 1.x gem, which does not register itself, if there still is anything of it: an instance that
-- retires while keys are scanned must not come back into the registry.
--
-- KEYS[1]  instance:<id>   string   heartbeat
-- KEYS[2]  jobs:<id>       set      in-flight records
-- KEYS[3]  instances       hash     registry
-- ARGV[1]  id
-- ARGV[2]  registry entry
-- Returns  1 registered, 0 not
if redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then
  return 0
end
return redis.call('HSETNX', KEYS[3], ARGV[1], ARGV[2])
