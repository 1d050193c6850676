-- Give a dead letter another life: its fields go back to the requests, its answer becomes pending again.
-- KEYS  1 dead  2 requests  3 backlog  4 waiting  5 answer hash (or absent)
-- ARGV  1 dead letter's entry id  2 id  3 its uuid  4 seconds an answer is kept after its deadline
--       5 milliseconds of a deadline that the request does not name
-- Returns the new entry's id, or false where there is no such dead letter, or nothing in it that could be sent.
local wanted = {stream = {[KEYS[1]] = true, [KEYS[2]] = true}, string = {[KEYS[3]] = true}, hash = {[KEYS[4]] = true}}
if KEYS[5] then wanted.hash[KEYS[5]] = true end
local wrong = wrong_type(wanted)
if wrong then return wrong end
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if not found[1] then return false end
local entry = decoded(described(found[1][2])['entry'] or '')
if not entry or #entry == 0 or #entry % 2 == 1 or not are_strings(entry, #entry) then return false end
local added = redis.call('XADD', KEYS[2], '*', unpack(entry))
redis.call('INCR', KEYS[3])
if KEYS[5] then
  local fields = described(entry)
  local deadline_ms = tonumber(fields['deadline_ms']) or tonumber(ARGV[5])
  local owner = fields['key'] and fields['key'] ~= '-' and '\n' .. fields['key'] or ''
  redis.call('HSET', KEYS[4], ARGV[3], waiting_until(added, deadline_ms))
  redis.call('HSET', KEYS[5], ARGV[2], 'pending' .. owner)
  keep(KEYS[5], ARGV[4] + math.ceil(deadline_ms / 1000))
end
redis.call('XDEL', KEYS[1], ARGV[1])
return added
