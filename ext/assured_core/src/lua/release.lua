-- Releases in-flight jobs.
--
-- KEYS[1]     jobs:<id>    set      in-flight records of this instance
-- KEYS[2]     instances    hash     registry
-- KEYS[i+2]   job:<name>   string   payload  (i = 1..n)
-- ARGV[1]     id
-- ARGV[2]     registry entry (JSON, unique to this process); '' when a sweep has put the jobs back
-- ARGV[i+2]   name
-- Returns     how many were released; error TAKEN
if ARGV[2] ~= '' and not owns(KEYS[2], ARGV[1], ARGV[2]) then
  return TAKEN
end
return drop(KEYS[1], 3, 3, #ARGV - 2)
