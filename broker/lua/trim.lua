-- Trim a stream from its front, count exactly what each of its groups thereby loses, and set the lag of those right.
-- KEYS  1 stream  2 gaps   ARGV  1 the first id to keep  2 most entries that may go in this call  3 beginning of a gap's field
-- Returns 1 where more should go: call again. So no call takes longer because the log is longer.
local wrong = wrong_type({stream = {[KEYS[1]] = true}, hash = {[KEYS[2]] = true}})
if wrong then return wrong end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local most = tonumber(ARGV[2])
local gone, more = 0, false

-- Trim up to *id*. Only whole nodes can be limited, and only what is left of one is trimmed without a limit.
local function trim(id)
  if more then return end
  gone = gone + redis.call('XTRIM', KEYS[1], 'MINID', '~', id, 'LIMIT', most)
  more = gone > most / 2
  if not more then gone = gone + redis.call('XTRIM', KEYS[1], 'MINID', '=', id) end
end

local behind = {}
for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = described(info)
  if older(group['last-delivered-id'], ARGV[1]) then behind[#behind + 1] = group end
end
table.sort(behind, function(a, b) return older(a['last-delivered-id'], b['last-delivered-id']) end)
for _, group in ipairs(behind) do
  trim(after(group['last-delivered-id']))
  group.kept = gone  -- what went up to here the group had read
end
trim(ARGV[1])

for _, group in ipairs(behind) do
  local lost = gone - group.kept
  if lost > 0 then
    redis.call('HINCRBY', KEYS[2], ARGV[3] .. group['name'], lost)
    local stream = described(redis.call('XINFO', 'STREAM', KEYS[1]))
    set_read(KEYS[1], group, stream['entries-added'] - stream['length'])
  end
end
return more and 1 or 0
