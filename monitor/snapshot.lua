-- Write the state, the alerts it raised and the visible position, all or nothing, unless another monitor took over, or the
-- state is of another server's log.
-- KEYS: monitor hash, born, results, feedback, alerts, checkpoints
-- ARGV: epoch, owner, born, state, results position, entries read, feedback position, entries read, most alerts kept,
--       name of a checkpoint of this state (kept unless there is one of that name; empty: none), most checkpoints kept,
--       number of the last alert, count of alerts, then per alert: count of strings, field and value strings;
--       last: the history that the state was read under
local wrong = wrong_type({
  hash = {[KEYS[1]] = true, [KEYS[6]] = true},
  string = {[KEYS[2]] = true},
  stream = {[KEYS[3]] = true, [KEYS[4]] = true, [KEYS[5]] = true},
})
if wrong then return wrong end
local born = redis.call('GET', KEYS[2]) or ''
if born ~= ARGV[3] or history() ~= ARGV[#ARGV] then return {'other'} end
local stored = redis.call('HMGET', KEYS[1], 'epoch', 'owner', 'alerts')
if stored[1] and tonumber(stored[1]) > tonumber(ARGV[1]) then return {'fenced', stored[2] or '?'} end

local last, count, alerts, at = tonumber(ARGV[12]), tonumber(ARGV[13]), {}, 14
for number = last - count + 1, last do
  local size = tonumber(ARGV[at])
  -- One that an earlier snapshot wrote although its reply was lost is not written again.
  if number > tonumber(stored[3] or '0') then
    alerts[#alerts + 1] = {unpack(ARGV, at + 1, at + size)}
  end
  at = at + size + 1
end

-- How many entries were added up to *position*, where that is certain: at the end, and before the first entry left.
local function place(key, position, read)
  if redis.call('EXISTS', key) == 0 then return read end
  local of = described(redis.call('XINFO', 'STREAM', key))
  if of['length'] == 0 or not older(position, of['last-generated-id']) then return of['entries-added'] end
  local first = of['first-entry']
  if first and older(position, first[1]) then return of['entries-added'] - of['length'] end
  return read
end

-- The first write: where memory has run out it is refused, and nothing has been written.
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'owner', ARGV[2], 'born', ARGV[3], 'state', ARGV[4],
  'results', ARGV[5], 'feedback', ARGV[7], 'alerts', ARGV[12])
for _, fields in ipairs(alerts) do
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[9], '*', unpack(fields))
end
if ARGV[10] ~= '' and redis.call('HSETNX', KEYS[6], ARGV[10], ARGV[3] .. ' ' .. ARGV[4]) == 1 then
  local names = redis.call('HKEYS', KEYS[6])
  table.sort(names)
  for i = 1, #names - tonumber(ARGV[11]) do redis.call('HDEL', KEYS[6], names[i]) end
end
local places = {}
for i, key in ipairs({KEYS[3], KEYS[4]}) do
  local position, read = ARGV[3 + 2 * i], tonumber(ARGV[4 + 2 * i])
  places[i] = place(key, position, read)
  local shown = string.format('%d', math.max(places[i], 0))
  local moved = redis.pcall('XGROUP', 'SETID', key, 'monitor', position, 'ENTRIESREAD', shown)
  if type(moved) == 'table' and moved['err'] then
    redis.call('XGROUP', 'CREATE', key, 'monitor', position, 'MKSTREAM', 'ENTRIESREAD', shown)
  end
end
return {'ok', places[1], places[2]}
