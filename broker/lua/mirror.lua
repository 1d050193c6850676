-- Write which versions are wanted, all fields at once; a store that is behind what is known here changes nothing.
-- KEYS  1 versions   ARGV  1 generation  2.. field, value, ...
local known = tonumber(redis.call('HGET', KEYS[1], 'generation') or '0') or 0
if known >= tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'generation', ARGV[1], unpack(ARGV, 2))
return 1
