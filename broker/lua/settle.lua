-- Acknowledge entries, and publish what came of them where nobody has done so before.
-- KEYS  1 requests  2 results  3 feedback  4 dead  5 backlog  6 joined  7.. answer hashes, join hashes, reply streams
-- ARGV  1 group  2 JSON: settlements  3 seconds an answer is kept  4 seconds a join row is kept
--       5 none: settled entries leave the log in this call, and a dead letter holds no text
-- A settlement: {entry, id, uuid, hour, answers, joins, replies = positions in KEYS or 0, result = fields, answer,
--   row = {predicted, confidence, version, "", tags?} or absent, label = true label or absent, dead = fields or absent}
-- Returns per settlement 1 where this call published it, 0 where it was settled before.
-- XACK is the first write: whoever acknowledges first publishes, and a full server still lets the answers out.
local REPLIES_LENGTH, REPLIES_SECONDS = 10000, 120
local group, settlements = ARGV[1], cjson.decode(ARGV[2])
local answer_ttl, join_ttl, keeps_text = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] ~= 'none'

local wanted = {
  stream = {[KEYS[1]] = true, [KEYS[2]] = true, [KEYS[3]] = true, [KEYS[4]] = true},
  string = {[KEYS[5]] = true},
  hash = {[KEYS[6]] = true},
}
for _, settled in ipairs(settlements) do
  if settled.answers > 0 then
    wanted.hash[KEYS[settled.answers]] = true
    wanted.hash[KEYS[settled.joins]] = true
  end
  if settled.replies > 0 then wanted.stream[KEYS[settled.replies]] = true end
end
local wrong = wrong_type(wanted)
if wrong then return wrong end

local function add_feedback(settled, label, previous, source)
  local row = settled.row
  local fields = {'schema_version', '1', 'id', settled.id, 'label', label, 'predicted', row[1], 'confidence', row[2],
    'version', row[3], 'source', source}
  if previous ~= '' then fields[#fields + 1] = 'previous_label'; fields[#fields + 1] = previous end
  if row[5] then fields[#fields + 1] = 'tags'; fields[#fields + 1] = row[5] end
  redis.call('XADD', KEYS[3], '*', unpack(fields))
  row[4] = label
end

local function publish(settled, parked)
  redis.call('XADD', KEYS[2], '*', unpack(settled.result))
  redis.call('HSET', KEYS[settled.answers], settled.id, settled.answer)
  keep(KEYS[settled.answers], answer_ttl)
  if settled.row then
    if settled.label then add_feedback(settled, settled.label, '', 'request') end
    if parked and parked ~= settled.row[4] then add_feedback(settled, parked, settled.row[4], 'caller') end
    redis.call('HSET', KEYS[settled.joins], settled.uuid, cjson.encode(settled.row))
    keep(KEYS[settled.joins], join_ttl)
    if not parked then redis.call('HINCRBY', KEYS[6], settled.hour, 1) end
  end
  if settled.replies > 0 then
    redis.call('XADD', KEYS[settled.replies], 'MAXLEN', '~', REPLIES_LENGTH, '*', 'id', settled.id, 'answer', settled.answer)
    redis.call('EXPIRE', KEYS[settled.replies], REPLIES_SECONDS)
  end
end

local function bury(settled)
  local found = keeps_text and redis.call('XRANGE', KEYS[1], settled.entry, settled.entry) or {}
  local fields = settled.dead
  fields[#fields + 1] = 'entry'
  fields[#fields + 1] = cjson.encode(found[1] and found[1][2] or {})
  redis.call('XADD', KEYS[4], '*', unpack(fields))
end

-- Only what is older than the last delivered entry may be deleted singly: at or past it, Redis no longer knows the lag.
-- That entry itself goes by trimming, once nothing older is pending.
local function take_off()
  local last
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local of = {}
    for position = 1, #info, 2 do of[info[position]] = info[position + 1] end
    if of['name'] == group then last = of['last-delivered-id'] end
  end
  if not last then return end
  local pending = redis.call('XPENDING', KEYS[1], group, '-', '+', 1)[1]
  if pending then
    redis.call('XTRIM', KEYS[1], 'MINID', '=', pending[1])
    for _, settled in ipairs(settlements) do
      if settled.entry ~= last then redis.call('XDEL', KEYS[1], settled.entry) end
    end
  else
    local ms, sequence = string.match(last, '^(%d+)-(%d+)$')
    local behind = #sequence < 16 and string.format('%s-%d', ms, tonumber(sequence) + 1) or last
    redis.call('XTRIM', KEYS[1], 'MINID', '=', behind)
  end
end

local published = {}
for position, settled in ipairs(settlements) do
  published[position] = 0
  if redis.call('XACK', KEYS[1], group, settled.entry) == 1 then
    redis.call('DECR', KEYS[5])
    local fresh, parked = true, nil
    if settled.answers > 0 then
      local stored = redis.call('HGET', KEYS[settled.answers], settled.id)
      local row = redis.call('HGET', KEYS[settled.joins], settled.uuid)
      if row then
        row = cjson.decode(row)
        if row[1] == '' then parked = row[4] end
      end
      fresh = (not stored or stored == 'pending') and (not row or row[1] == '')
      if fresh then publish(settled, parked) end
    end
    if fresh and settled.dead then bury(settled) end
    published[position] = fresh and 1 or 0
  end
end
if not keeps_text then take_off() end
return published
