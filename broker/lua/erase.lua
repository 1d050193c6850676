-- Take entries out of a stream without making any group's lag unknown, which happens to a group whose position is at or
-- before a deleted entry.
-- KEYS  1 stream  2 backlog (of requests alone)
-- ARGV  1 group whose position may be moved past a mark of ours
--       2 now: erase at any price; look: erase nothing  3.. entry ids
-- Returns per entry erased, gone, or waiting: a group has not finished it, or stands on it. With look, finished
-- in place of erased, whether or not a group stands on it.
-- An entry that is the stream's last gets a mark behind it, so that the groups may move on: {erased = 1}, nothing else.
local wanted = {stream = {[KEYS[1]] = true}, string = {}}
if KEYS[2] then wanted.string[KEYS[2]] = true end
local wrong = wrong_type(wanted)
if wrong then return wrong end

-- Move the readers' group over a mark that nobody else has read; nothing else may be waiting before it.
local function mark(entry)
  if described(redis.call('XINFO', 'STREAM', KEYS[1]))['last-generated-id'] ~= entry then return end
  redis.call('XADD', KEYS[1], '*', 'schema_version', '1', 'erased', '1')
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if described(info)['name'] == ARGV[1] then
      local read = redis.call('XREADGROUP', 'GROUP', ARGV[1], 'erasing', 'COUNT', 1, 'STREAMS', KEYS[1], '>')
      redis.call('XACK', KEYS[1], ARGV[1], read[1][2][1][1])
      redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], 'erasing')
    end
  end
end

-- Return whether a group still needs the entry, and whether one stands on it. A shadow needs only what it holds: it may
-- be hours behind, and nothing rests on its lag.
local function needed(entry)
  local stands = false
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local group = described(info)
    local last = group['last-delivered-id']
    local is_shadow = string.sub(group['name'], 1, 7) == 'shadow.'
    if not is_shadow and older(last, entry) or #redis.call('XPENDING', KEYS[1], group['name'], entry, entry, 1) > 0 then
      return true, false
    end
    stands = stands or not is_shadow and last == entry
  end
  return false, stands
end

-- Take an entry from every group that holds it, so that nothing is published of it any more; and count it as read and
-- done with by the readers' group, where it is neither: it was erased on demand, not lost.
local function take_away(entry)
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local group = described(info)
    local held, unread = redis.call('XACK', KEYS[1], group['name'], entry) == 1, older(group['last-delivered-id'], entry)
    if group['name'] == ARGV[1] then
      if unread and group['entries-read'] then set_read(KEYS[1], group, group['entries-read'] + 1) end
      if KEYS[2] and (held or unread) then redis.call('DECR', KEYS[2]) end
    end
  end
end

local outcomes = {}
local exists = redis.call('EXISTS', KEYS[1]) == 1
for position = 3, #ARGV do
  local entry, outcome = ARGV[position], 'waiting'
  if not exists or #redis.call('XRANGE', KEYS[1], entry, entry) == 0 then
    outcome = 'gone'
  else
    local unfinished, stands = needed(entry)
    if not unfinished and stands and ARGV[2] ~= 'look' then
      mark(entry)
      unfinished, stands = needed(entry)
    end
    if ARGV[2] == 'look' then
      if not unfinished then outcome = 'finished' end
    elseif ARGV[2] == 'now' or not (unfinished or stands) then
      take_away(entry)
      redis.call('XDEL', KEYS[1], entry)
      outcome = 'erased'
    end
  end
  outcomes[#outcomes + 1] = outcome
end
return outcomes
