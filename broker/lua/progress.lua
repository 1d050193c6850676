-- Say how far an explanation is, unless it was forgotten meanwhile; whose it is stays.
-- KEYS  1 the explanation   ARGV  1 what it says
local wrong = wrong_type({string = {[KEYS[1]] = true}})
if wrong then return wrong end
local known = redis.call('GET', KEYS[1])
if known then redis.call('SET', KEYS[1], ARGV[1] .. owner_in(known), 'KEEPTTL') end
return 0
