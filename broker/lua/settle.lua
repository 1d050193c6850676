-- Acknowledge entries, and publish what came of them where nobody has done so before.
-- KEYS  1 requests  2 results  3 feedback  4 dead  5 backlog  6 joined  7 waiting  8 unanswered
--       9.. answer hashes, join hashes, reply streams
-- ARGV  1 group  2 JSON: settlements  3 seconds an answer is kept  4 seconds a join row is kept
--       5 none: settled entries leave the log in this call, and a dead letter holds no text  6.. answers
-- A settlement: {entry, id, uuid, hour, answers, joins, replies = positions in KEYS or 0, result = fields,
--   answer = position in ARGV, owner = what ends the stored answer, row = {predicted, confidence, version, "", tags, 0?,
--   key?} or absent, ms = of the id, label = true label or absent, dead = fields or absent,
--   overdue = what waiting says of a request that nobody seems to have, or absent}
-- A row that is kept has a sixth value: by how many ms the log took the result later than the id says, which is the
-- gateway's clock. With that the label knows when the prediction was made; the difference takes a fifth of the room.
-- Returns per settlement 1 where this call published it, 0 where it was settled before.
-- XACK is the first write: what acknowledges first publishes, and a full server still lets the answers out. One that
-- is overdue is taken off waiting in its place, if it is still there and the group has not got it.
local REPLIES_LENGTH, REPLIES_SECONDS, TRIMMED = 10000, 120, 10000
local group, settlements = ARGV[1], cjson.decode(ARGV[2])
local answer_ttl, join_ttl, keeps_text = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] ~= 'none'

local wanted = {
  stream = {[KEYS[2]] = true, [KEYS[3]] = true}, string = {[KEYS[5]] = true}, hash = {[KEYS[6]] = true, [KEYS[7]] = true},
}
local ids_of, uuids_of = {}, {}
for _, settled in ipairs(settlements) do
  if settled.answers > 0 then
    push(ids_of, settled.answers, settled.id)
    push(uuids_of, settled.joins, settled.uuid)
  end
  if settled.replies > 0 then wanted.stream[KEYS[settled.replies]] = true end
  if settled.dead then wanted.stream[KEYS[4]] = true end
  if settled.overdue then wanted.hash[KEYS[8]] = true end
end
local wrong = wrong_type(wanted)
if wrong then return wrong end

local answered, owners = {}, {}  -- ids that have their answer; what ends the pending ones
for answers, ids in pairs(ids_of) do
  for id, stored in pairs(values_of(KEYS[answers], ids)) do
    answered[id], owners[id] = not is_pending(stored), owner_in(stored)
  end
end
local rows = {}  -- uuid to join row
for joins, uuids in pairs(uuids_of) do
  for uuid, row in pairs(values_of(KEYS[joins], uuids)) do rows[uuid] = join_row(row) end
end

-- What is written once for all settlements, after the last of them.
local new_answers, new_rows, joined, replied, answered_now = {}, {}, {}, {}, {}

local function add_feedback(settled, label, previous, source)
  local row = settled.row
  local fields = {'schema_version', '1', 'id', settled.id, 'label', label, 'predicted', row[1], 'confidence', row[2],
    'version', row[3], 'source', source, 'made_ms', string.format('%d', settled.ms + row[6])}
  if previous ~= '' then fields[#fields + 1] = 'previous_label'; fields[#fields + 1] = previous end
  if row[5] ~= '{}' then fields[#fields + 1] = 'tags'; fields[#fields + 1] = row[5] end
  redis.call('XADD', KEYS[3], '*', unpack(fields))
  row[4] = label
end

local function publish(settled, parked)
  local entry = redis.call('XADD', KEYS[2], '*', unpack(settled.result))
  answered[settled.id] = true
  push(new_answers, settled.answers, settled.id, ARGV[settled.answer] .. (owners[settled.id] or settled.owner or ''))
  if settled.row then
    settled.row[6] = tonumber(string.match(entry, '^%d+')) - settled.ms
    if settled.label then add_feedback(settled, settled.label, '', 'request') end
    if parked and parked ~= settled.row[4] then add_feedback(settled, parked, settled.row[4], 'caller') end
    rows[settled.uuid] = settled.row
    push(new_rows, settled.joins, settled.uuid, cjson.encode(settled.row))
    if not parked then joined[settled.hour] = (joined[settled.hour] or 0) + 1 end
  end
  if settled.replies > 0 then
    local key = KEYS[settled.replies]
    redis.call('XADD', key, 'MAXLEN', '~', REPLIES_LENGTH, '*', 'id', settled.id, 'answer', ARGV[settled.answer])
    replied[key] = true
  end
end

local function bury(settled)
  local found = keeps_text and redis.call('XRANGE', KEYS[1], settled.entry, settled.entry) or {}
  local fields = settled.dead
  fields[#fields + 1] = 'entry'
  fields[#fields + 1] = cjson.encode(found[1] and found[1][2] or {})
  redis.call('XADD', KEYS[4], '*', unpack(fields))
end

-- Return the last entry that the group was given, or nil where there is no group.
local function last_delivered()
  if redis.call('TYPE', KEYS[1]).ok == 'none' then return end
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local found = described(info)
    if found['name'] == group then return found['last-delivered-id'] end
  end
end

-- Return whether the group has an entry, or will get it: then it, or a claimer, brings it to its end.
local function is_in_group(entry)
  local last = last_delivered()
  if last and #redis.call('XPENDING', KEYS[1], group, entry, entry, 1) > 0 then return true end
  return older(last or '0-0', entry) and #redis.call('XRANGE', KEYS[1], entry, entry) == 1
end

-- Take an entry for this call to publish; false where another did, or will.
local function take(settled)
  if not settled.overdue then return ask('stream', 'XACK', KEYS[1], group, settled.entry) == 1 end
  return redis.call('HGET', KEYS[7], settled.uuid) == settled.overdue and not is_in_group(settled.entry)
    and redis.call('HDEL', KEYS[7], settled.uuid) == 1
end

-- What was kept until now, under another setting, is more than one call should take off: the janitor does the rest.
local function trim(id)
  if redis.call('XTRIM', KEYS[1], 'MINID', '~', id, 'LIMIT', TRIMMED) <= TRIMMED / 2 then
    redis.call('XTRIM', KEYS[1], 'MINID', '=', id)
  end
end

-- Only what is older than the last delivered entry may be deleted singly: at or past it, Redis no longer knows the lag.
-- That entry itself goes by trimming, once nothing older is pending. *done*: entries that this call took.
local function take_off(done)
  local last = last_delivered()
  if not last then return end
  local pending = redis.call('XPENDING', KEYS[1], group, '-', '+', 1)[1]
  trim(pending and pending[1] or after(last))
  if not pending then return end
  for _, entry in ipairs(done) do
    if older(entry, last) then redis.call('XDEL', KEYS[1], entry) end
  end
end

local published, taken, acknowledged, unanswered = {}, {}, 0, 0
for position, settled in ipairs(settlements) do
  published[position] = 0
  if take(settled) then
    taken[#taken + 1] = settled.entry
    if not settled.overdue then acknowledged = acknowledged + 1 end
    local fresh, parked = true, nil
    if settled.answers > 0 then
      answered_now[#answered_now + 1] = settled.uuid
      local row = rows[settled.uuid]
      if row and row[1] == '' then parked = row[4] end
      fresh = not answered[settled.id] and (not row or row[1] == '')
      if fresh then publish(settled, parked) end
    end
    if fresh and settled.dead then bury(settled) end
    if fresh and settled.overdue then unanswered = unanswered + 1 end
    published[position] = fresh and 1 or 0
  end
end
for answers, fields in pairs(new_answers) do
  set_fields(KEYS[answers], fields)
  keep(KEYS[answers], answer_ttl)
end
for joins, fields in pairs(new_rows) do
  set_fields(KEYS[joins], fields)
  keep(KEYS[joins], join_ttl)
end
for hour, count in pairs(joined) do redis.call('HINCRBY', KEYS[6], hour, count) end
for key in pairs(replied) do redis.call('EXPIRE', key, REPLIES_SECONDS) end
if acknowledged > 0 then redis.call('DECRBY', KEYS[5], acknowledged) end
if #answered_now > 0 then redis.call('HDEL', KEYS[7], unpack(answered_now)) end
if unanswered > 0 then
  redis.call('HINCRBY', KEYS[8], 'requests', unanswered)
  redis.call('HSET', KEYS[8], 'last_s', redis.call('TIME')[1])
end
if not keeps_text then take_off(taken) end
return published
