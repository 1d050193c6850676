-- Put requests on the log, each unit (one HTTP call) whole or not at all.
-- KEYS  1 requests  2 backlog  3 waiting  4 entry-bytes  5.. answer hashes and idempotency keys, named by position in ARGV[1]
-- ARGV  1 JSON: units of {idem = Idempotency-Key or "", before = position of the string in which an older Observa kept it,
--         body, entries = {{id, uuid, answers = position, pending = what is stored for it, deadline_ms, fields}}}
--       2 most entries that may wait  3 most bytes of them  4 seconds an answer is kept after its deadline
--       5 seconds an idempotency key is kept  6 position of the ring of such keys, whose slots follow, or 0  7 its slots
-- Returns per unit {status, id, ...}: accepted, replayed, conflict or overloaded.
-- Everything is decoded and every key's type known before the first write, XADD, or from it: Lua does not roll back.
-- What can be asked or written for all units at once is: each redis.call costs as much as a unit's share of the rest.
local units = cjson.decode(ARGV[1])
local limit, bytes_limit, answer_ttl, idem_ttl = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local ring, slots = tonumber(ARGV[6]), tonumber(ARGV[7])
local UUID = 36  -- characters at the end of an id

local ids_of, asked = {}, {}
for _, unit in ipairs(units) do
  if unit.idem ~= '' then asked[#asked + 1] = unit.idem end
  for _, entry in ipairs(unit.entries) do push(ids_of, entry.answers, entry.id) end
end
local wrong = wrong_type({hash = {[KEYS[3]] = true}})
if wrong then return wrong end

-- A call whose reply got lost is made again: what it has put on the log already needs no room.
local known = {}
for answers, ids in pairs(ids_of) do
  for id in pairs(values_of(KEYS[answers], ids)) do known[id] = true end
end

local used, keyed = {}, {}  -- Idempotency-Key to {body, uuid, ...}: of before, and what is new
for slot = 1, ring > 0 and slots or 0 do
  for position, stored in ipairs(ask('hash', 'HMGET', KEYS[ring + slot], unpack(asked))) do
    if stored then
      local key = asked[position]
      used[key] = {}
      for part in string.gmatch(stored, '[^|]+') do table.insert(used[key], part) end
    end
  end
end
-- Return what an older Observa kept of an idempotency key: {body, ids}; nil where it is new.
local function kept_before(key)
  local stored = ask('string', 'GET', key)
  local found = stored and decoded(stored)
  local ids = found and found.ids
  if type(ids) ~= 'table' or type(found.body) ~= 'string' then return end
  if are_strings(ids, math.max(1, #ids)) then return found end
end

for _, unit in ipairs(units) do
  local before = unit.idem ~= '' and not used[unit.idem] and kept_before(KEYS[unit.before])
  if before then
    used[unit.idem] = {string.sub(before.body, 1, #unit.body)}
    for _, id in ipairs(before.ids) do table.insert(used[unit.idem], string.sub(id, -UUID)) end
  end
end

-- Return what became of an earlier call with the unit's Idempotency-Key, if there was one.
local function earlier(unit)
  local stored = used[unit.idem]
  if not stored then return end
  local outcome, tag = {stored[1] == unit.body and 'replayed' or 'conflict'}, string.sub(unit.entries[1].id, 1, -UUID - 1)
  for position = 2, #stored do outcome[position] = tag .. stored[position] end
  return outcome
end

local backlog = tonumber(ask('string', 'GET', KEYS[2]) or '0')
local bytes = math.max(backlog, 0) * (tonumber(ask('string', 'GET', KEYS[4])) or 0)  -- of all that waits
local added, pending, deadlines, waiting = 0, {}, {}, {}
local head = ring > 0 and tonumber(ask('hash', 'HGET', KEYS[ring], 'head') or '0') % slots  -- of the ring

-- Return how many entries of the unit are new, and their bytes.
local function size(entries)
  local new, size = 0, 0
  for _, entry in ipairs(entries) do
    if not known[entry.id] then
      new = new + 1
      for value = 2, #entry.fields, 2 do size = size + #entry.fields[value] end
    end
  end
  return new, size
end

local function add(entry)
  known[entry.id] = true
  local added_as = ask('stream', 'XADD', KEYS[1], '*', unpack(entry.fields))
  added = added + 1
  push(pending, entry.answers, entry.id, entry.pending)
  push(waiting, KEYS[3], entry.uuid, waiting_until(added_as, entry.deadline_ms))
  deadlines[entry.answers] = math.max(deadlines[entry.answers] or 0, math.ceil(entry.deadline_ms / 1000))
end

local function accept(unit)
  local new, new_bytes = size(unit.entries)
  if backlog + added + new > limit or bytes + new_bytes > bytes_limit then return {'overloaded'} end
  bytes = bytes + new_bytes
  local ids, uuids = {}, {}
  for position, entry in ipairs(unit.entries) do
    ids[position], uuids[position] = entry.id, entry.uuid
    if not known[entry.id] then add(entry) end
  end
  if unit.idem ~= '' then
    used[unit.idem] = {unit.body, unpack(uuids)}
    push(keyed, ring, unit.idem, table.concat(used[unit.idem], '|'))
  end
  return {'accepted', unpack(ids)}
end

local outcomes = {}
for position, unit in ipairs(units) do outcomes[position] = earlier(unit) or accept(unit) end
for answers, fields in pairs(pending) do
  set_fields(KEYS[answers], fields)
  keep(KEYS[answers], answer_ttl + deadlines[answers])
end
if keyed[ring] then
  local slot = KEYS[ring + 1 + head]
  set_fields(slot, keyed[ring])
  keep(slot, idem_ttl)
end
if added > 0 then
  set_fields(KEYS[3], waiting[KEYS[3]])
  backlog = math.max(backlog + added, added)
  redis.call('MSET', KEYS[2], string.format('%.0f', backlog), KEYS[4], string.format('%.0f', bytes / backlog))
end
return outcomes
