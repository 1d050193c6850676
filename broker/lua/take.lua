-- Take a lease, or keep it where it is ours.
-- KEYS  1 lease   ARGV  1 its value  2 milliseconds   Returns 1 where it is ours now.
-- PEXPIRE is the first write: who makes room needs its lease on a full server, too.
local owner = ask('string', 'GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
