-- Put requests on the log, each unit (one HTTP call) whole or not at all.
-- KEYS  1 requests  2 backlog  3.. answer hashes and idempotency keys, named by position in ARGV[1]
-- ARGV  1 JSON: units of {idem = position or 0, body, entries = {{id, answers = position, pending = what is stored for it, deadline_s, fields}}}
--       2 most entries that may wait  3 seconds an answer is kept after its deadline  4 seconds an idempotency key is kept
-- Returns per unit {status, id, ...}: accepted, replayed, conflict or overloaded.
-- Everything is decoded and every key's type checked before the first write: Lua does not roll back.
-- What can be asked or written for all units at once is: each redis.call costs as much as a unit's share of the rest.
local units = cjson.decode(ARGV[1])
local limit, answer_ttl, idem_ttl = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local wanted = {stream = {[KEYS[1]] = true}, string = {[KEYS[2]] = true}, hash = {}}
local ids_of = {}
for _, unit in ipairs(units) do
  if unit.idem > 0 then wanted.string[KEYS[unit.idem]] = true end
  for _, entry in ipairs(unit.entries) do
    wanted.hash[KEYS[entry.answers]] = true
    push(ids_of, entry.answers, entry.id)
  end
end
local wrong = wrong_type(wanted)
if wrong then return wrong end

-- A call whose reply got lost is made again: what it has put on the log already needs no room.
local known = {}
for answers, ids in pairs(ids_of) do
  for id in pairs(values_of(KEYS[answers], ids)) do known[id] = true end
end

local function count_new(entries)
  local new = 0
  for _, entry in ipairs(entries) do
    if not known[entry.id] then new = new + 1 end
  end
  return new
end

local backlog = tonumber(redis.call('GET', KEYS[2]) or '0')
local added, pending, deadlines = 0, {}, {}
local function add(entry)
  known[entry.id] = true
  redis.call('XADD', KEYS[1], '*', unpack(entry.fields))
  added = added + 1
  push(pending, entry.answers, entry.id, entry.pending)
  deadlines[entry.answers] = math.max(deadlines[entry.answers] or 0, entry.deadline_s)
end

local outcomes = {}
for position, unit in ipairs(units) do
  local earlier = unit.idem > 0 and redis.call('GET', KEYS[unit.idem])
  if earlier then
    local stored = cjson.decode(earlier)
    outcomes[position] = stored.ids
    table.insert(outcomes[position], 1, stored.body == unit.body and 'replayed' or 'conflict')
  elseif backlog + added + count_new(unit.entries) > limit then
    outcomes[position] = {'overloaded'}
  else
    local ids = {}
    for _, entry in ipairs(unit.entries) do
      ids[#ids + 1] = entry.id
      if not known[entry.id] then add(entry) end
    end
    if unit.idem > 0 then
      redis.call('SET', KEYS[unit.idem], cjson.encode({body = unit.body, ids = ids}), 'EX', idem_ttl)
    end
    outcomes[position] = {'accepted', unpack(ids)}
  end
end
for answers, fields in pairs(pending) do
  set_fields(KEYS[answers], fields)
  keep(KEYS[answers], answer_ttl + deadlines[answers])
end
if added > 0 then redis.call('INCRBY', KEYS[2], added) end
return outcomes
