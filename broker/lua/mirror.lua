-- Write which versions are wanted, all fields at once; a store that is behind what is known here changes nothing.
-- KEYS  1 versions   ARGV  1 generation  2 'over': even so  3.. field, value, ...
local bad = wrong_type({hash = {[KEYS[1]] = true}})
if bad then return bad end
local known = tonumber(redis.call('HGET', KEYS[1], 'generation') or '0') or 0
if ARGV[2] ~= 'over' and known >= tonumber(ARGV[1]) then return 0 end
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], 'generation', ARGV[1], unpack(ARGV, 3))
return 1
