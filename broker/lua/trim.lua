-- Trim requests, count what groups that never hold the log back thereby lose, and move them past it, so that their lag
-- stays true.
-- KEYS  1 requests  2 gaps   ARGV  1 the first id to keep  2 what the names of such groups begin with  3 field of a gap
local PAGE = 100
local wrong = wrong_type({stream = {[KEYS[1]] = true}, hash = {[KEYS[2]] = true}})
if wrong then return wrong end

local function count_between(after, before)
  local count, page = 0, nil
  repeat
    page = redis.call('XRANGE', KEYS[1], '(' .. after, '(' .. before, 'COUNT', PAGE)
    count = count + #page
    if #page > 0 then after = page[#page][1] end
  until #page < PAGE
  return count
end

local behind = {}
for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = described(info)
  local last = group['last-delivered-id']
  if string.sub(group['name'], 1, #ARGV[2]) == ARGV[2] and older(last, ARGV[1]) then
    local lost = count_between(last, ARGV[1])
    if lost > 0 then behind[#behind + 1] = {group['name'], lost} end
  end
end
local trimmed = redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[1])
if #behind == 0 then return trimmed end
local stream = described(redis.call('XINFO', 'STREAM', KEYS[1]))
local ms, sequence = string.match(ARGV[1], '^(%d+)-(%d+)$')
local position = sequence ~= '0' and string.format('%s-%d', ms, tonumber(sequence) - 1)
  or string.format('%.0f-18446744073709551615', tonumber(ms) - 1)
for _, group in ipairs(behind) do
  redis.call('HINCRBY', KEYS[2], ARGV[3] .. group[1], group[2])
  redis.call('XGROUP', 'SETID', KEYS[1], group[1], position, 'ENTRIESREAD', stream['entries-added'] - stream['length'])
end
return trimmed
