-- Publish an explanation and delete the text it was made of; of one that was forgotten meanwhile nothing is written.
-- KEYS  1 explain  2 the explanation  3 explanations
-- ARGV  1 group  2 entry id  3 what the explanation says  4 seconds it is kept  5 most entries kept of explanations
--       6.. fields of the entry
-- Returns 1 where it was published.
local wrong = wrong_type({stream = {[KEYS[1]] = true, [KEYS[3]] = true}, string = {[KEYS[2]] = true}})
if wrong then return wrong end
local first = redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
local known = redis.call('GET', KEYS[2])
if first == 0 or not known then return 0 end
redis.call('SET', KEYS[2], ARGV[3] .. owner_in(known), 'EX', ARGV[4])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[5], '*', unpack(ARGV, 6))
return 1
