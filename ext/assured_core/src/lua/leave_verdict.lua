-- Shared by the scripts that end records of a dead instance: counts what they have ended, and tells the instance of
-- it, should it still live; nobody where it is the instance itself that ends them.
local function leave_verdict(verdict, by, ttl, stats, counter, ended)
  if ended > 0 then
    redis.pcall('HINCRBY', stats, counter, ended)
    if by ~= '' then
      redis.call('SET', verdict, by, 'PX', ttl)
    end
  end
end

