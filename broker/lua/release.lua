-- Give a lease back, if it is still ours.
-- KEYS  1 lease   ARGV  1 its value   Returns 1 where it was.
if ask('string', 'GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
