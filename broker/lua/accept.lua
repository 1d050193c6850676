-- Put requests on the log, each unit (one HTTP call) whole or not at all.
-- KEYS  1 requests  2 backlog  3.. answer hashes and idempotency keys, named by position in ARGV[1]
-- ARGV  1 JSON: units of {idem = position or 0, body, entries = {{id, answers = position, fields}}}
--       2 most entries that may wait  3 seconds an answer is kept after its deadline  4 seconds an idempotency key is kept
-- Returns per unit {status, id, ...}: accepted, replayed, conflict or overloaded.
-- Everything is decoded and every key's type checked before the first write: Lua does not roll back.
local units = cjson.decode(ARGV[1])
local limit, answer_ttl, idem_ttl = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local wanted = {stream = {[KEYS[1]] = true}, string = {[KEYS[2]] = true}, hash = {}}
for _, unit in ipairs(units) do
  if unit.idem > 0 then wanted.string[KEYS[unit.idem]] = true end
  for _, entry in ipairs(unit.entries) do wanted.hash[KEYS[entry.answers]] = true end
end
local wrong = wrong_type(wanted)
if wrong then return wrong end

-- A call whose reply got lost is made again: what it has put on the log already needs no room.
local function count_new(entries)
  local new = 0
  for _, entry in ipairs(entries) do
    if redis.call('HEXISTS', KEYS[entry.answers], entry.id) == 0 then new = new + 1 end
  end
  return new
end

local backlog = tonumber(redis.call('GET', KEYS[2]) or '0')
local answers = {}
for position, unit in ipairs(units) do
  local known = unit.idem > 0 and redis.call('GET', KEYS[unit.idem])
  if known then
    local stored = cjson.decode(known)
    answers[position] = stored.ids
    table.insert(answers[position], 1, stored.body == unit.body and 'replayed' or 'conflict')
  elseif backlog + count_new(unit.entries) > limit then
    answers[position] = {'overloaded'}
  else
    local ids = {}
    for _, entry in ipairs(unit.entries) do
      ids[#ids + 1] = entry.id
      if redis.call('HSETNX', KEYS[entry.answers], entry.id, 'pending') == 1 then
        keep(KEYS[entry.answers], answer_ttl + entry.deadline_s)
        redis.call('XADD', KEYS[1], '*', unpack(entry.fields))
        redis.call('INCR', KEYS[2])
        backlog = backlog + 1
      end
    end
    if unit.idem > 0 then
      redis.call('SET', KEYS[unit.idem], cjson.encode({body = unit.body, ids = ids}), 'EX', idem_ttl)
    end
    answers[position] = {'accepted', unpack(ids)}
  end
end
return answers
