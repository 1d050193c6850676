-- Give a dead letter another life: its fields go back to the requests, its answer becomes pending again.
-- KEYS  1 dead  2 requests  3 backlog  4 answer hash (or absent)   ARGV  1 dead letter's entry id  2 id  3 seconds
-- Returns the new entry's id, or false where there is no such dead letter.
local wanted = {stream = {[KEYS[1]] = true, [KEYS[2]] = true}, string = {[KEYS[3]] = true}, hash = {}}
if KEYS[4] then wanted.hash[KEYS[4]] = true end
local wrong = wrong_type(wanted)
if wrong then return wrong end
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if not found[1] then return false end
local entry, owner = nil, ''
for position = 1, #found[1][2], 2 do
  if found[1][2][position] == 'entry' then entry = cjson.decode(found[1][2][position + 1]) end
end
if not entry or #entry == 0 then return false end
for position = 1, #entry, 2 do
  if entry[position] == 'key' and entry[position + 1] ~= '-' then owner = '\n' .. entry[position + 1] end
end
local added = redis.call('XADD', KEYS[2], '*', unpack(entry))
redis.call('INCR', KEYS[3])
if KEYS[4] then
  redis.call('HSET', KEYS[4], ARGV[2], 'pending' .. owner)
  redis.call('EXPIRE', KEYS[4], ARGV[3])
end
redis.call('XDEL', KEYS[1], ARGV[1])
return added
