-- Ask for an explanation, unless there is one already or nobody would answer.
-- KEYS  1 the explanation  2 explain  3 the explainer's mark
-- ARGV  1 what a pending explanation says  2 seconds both are kept  3 most that may wait  4.. fields of the entry
-- Returns known, absent (no explainer), full, or accepted. One that failed is asked for again.
local wrong = wrong_type({string = {[KEYS[1]] = true, [KEYS[3]] = true}, stream = {[KEYS[2]] = true}})
if wrong then return wrong end
local known = redis.call('GET', KEYS[1])
if known and not string.find(known, '"status":"failed"', 1, true) then return 'known' end
if not redis.call('GET', KEYS[3]) then return 'absent' end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[3]) then return 'full' end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 4))
keep(KEYS[2], ARGV[2])
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 'accepted'
