-- Take entries out of a stream without making any group's lag unknown, which happens to a group whose position is at or
-- before a deleted entry.
-- KEYS  1 stream   ARGV  1 group whose position may be moved past a mark of ours
--       2 now: erase at any price; look: erase nothing  3.. entry ids
-- Returns per entry erased, gone, or waiting: a group has not finished it, or stands on it. With look, finished
-- in place of erased, whether or not a group stands on it.
-- An entry that is the stream's last gets a mark behind it, so that the groups may move on: {erased = 1}, nothing else.
local wrong = wrong_type({stream = {[KEYS[1]] = true}})
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
      redis.call('XDEL', KEYS[1], entry)
      outcome = 'erased'
    end
  end
  outcomes[#outcomes + 1] = outcome
end
return outcomes
