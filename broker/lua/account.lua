-- Count what was deleted before a group had read it, by hand or otherwise, once; and set right what is told of what waits:
-- the lag of each group and, of requests, the backlog, by which requests are let in.
-- KEYS  1 stream  2 gaps  3 backlog (or absent)   ARGV  1 beginning of a gap's field  2 the group whose backlog it is
-- Where a group is in the middle of the stream and entries before it were deleted, nobody knows what waits: it is left.
local wanted = {stream = {[KEYS[1]] = true}, hash = {[KEYS[2]] = true}, string = {}}
if KEYS[3] then wanted.string[KEYS[3]] = true end
local wrong = wrong_type(wanted)
if wrong then return wrong end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local stream = described(redis.call('XINFO', 'STREAM', KEYS[1]))
local added, first = stream['entries-added'], stream['first-entry']

for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = described(info)
  local last, read, waiting, lost = group['last-delivered-id'], group['entries-read'], group['lag'], 0
  local before_first = stream['length'] == 0 or older(last, first[1])
  local at_end = not older(last, stream['last-generated-id'])
  if at_end then waiting = 0 elseif before_first then waiting = stream['length'] end
  local certain = at_end or before_first
  if certain and read then lost = added - read - waiting end
  if KEYS[3] and group['name'] == ARGV[2] and waiting then
    local unfinished = waiting + group['pending']
    lost = math.max(lost, (tonumber(redis.call('GET', KEYS[3])) or 0) - unfinished)
    redis.call('SET', KEYS[3], string.format('%d', unfinished))
  end
  if lost > 0 then redis.call('HINCRBY', KEYS[2], ARGV[1] .. group['name'], lost) end
  if certain and read ~= added - waiting then set_read(KEYS[1], group, added - waiting) end
end
return 0
