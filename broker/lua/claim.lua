-- Take one idle entry over. In the group that answers, the taker's name is noted in the same step; it takes it back when
-- it has survived the entry, so the names that are there already are of workers that died of running it alone.
-- KEYS  1 requests  2 gaps  3 suspects  4 backlog (both absent in other groups)
-- ARGV  1 group  2 consumer  3 milliseconds it must have been idle  4 entry  5 field of a gap  6 seconds a name is kept
-- Returns {deliveries so far, deaths, fields}, or nothing where another worker was faster or the entry was trimmed.
-- XCLAIM is the first write: a full server still lets entries be taken over.
local wanted = {stream = {[KEYS[1]] = true}, hash = {[KEYS[2]] = true}, set = {}}
if KEYS[3] then
  wanted.set[KEYS[3]] = true
  wanted.string = {[KEYS[4]] = true}
end
local wrong = wrong_type(wanted)
if wrong then return wrong end
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[4], ARGV[4], 1)[1]
if not pending then return false end
local claimed = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])[1]
if not claimed then
  if #redis.call('XRANGE', KEYS[1], ARGV[4], ARGV[4]) == 0 then
    redis.call('XACK', KEYS[1], ARGV[1], ARGV[4])
    redis.call('HINCRBY', KEYS[2], ARGV[5], 1)
    if KEYS[4] then redis.call('DECR', KEYS[4]) end
  end
  return false
end
local deaths = 0
if KEYS[3] then
  redis.call('SREM', KEYS[3], ARGV[2])
  deaths = redis.call('SCARD', KEYS[3])
  redis.call('SADD', KEYS[3], ARGV[2])
  redis.call('EXPIRE', KEYS[3], ARGV[6])
end
return {pending[4], deaths, claimed[2]}
