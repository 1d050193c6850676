-- Record one true label beside the prediction it judges.
-- KEYS  1 join hash  2 answer hash  3 feedback stream  4 joined
-- ARGV  1 id  2 uuid  3 label  4 seconds a join row is kept  5 hour  6 ms of the id
--       7 any: whoever asked for it, may it be labelled  8.. else ids of the API keys that may have asked for it
-- Returns accepted, same, replaced, parked (no result yet: the result script will join it) or unknown.
local wrong = wrong_type({
  hash = {[KEYS[1]] = true, [KEYS[2]] = true, [KEYS[4]] = true},
  stream = {[KEYS[3]] = true},
})
if wrong then return wrong end
local id, uuid, label, ttl, hour = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]

local row = join_row(redis.call('HGET', KEYS[1], uuid))
local answer = redis.call('HGET', KEYS[2], id) or ''
local owner = row and row[7] or string.sub(owner_in(answer), 2)
local may = ARGV[7] == 'any' or owner == ''
for position = 8, #ARGV do may = may or ARGV[position] == owner end
if not may then return 'unknown' end

-- A label parked for a prediction that failed waits for nothing; once the answer has gone nobody knows whose it was.
if row and row[4] == label and (row[1] ~= '' or is_pending(answer)) then return 'same' end

if row and row[1] ~= '' then
  local fields = {'schema_version', '1', 'id', id, 'label', label, 'predicted', row[1], 'confidence', row[2],
    'version', row[3], 'source', 'caller'}
  if row[4] ~= '' then fields[#fields + 1] = 'previous_label'; fields[#fields + 1] = row[4] end
  if row[5] and row[5] ~= '{}' then fields[#fields + 1] = 'tags'; fields[#fields + 1] = row[5] end
  if row[6] then  -- an older Observa's rows end before it
    fields[#fields + 1] = 'made_ms'; fields[#fields + 1] = string.format('%d', tonumber(ARGV[6]) + row[6])
  end
  local outcome = row[4] == '' and 'accepted' or 'replaced'
  redis.call('XADD', KEYS[3], '*', unpack(fields))
  row[4] = label
  redis.call('HSET', KEYS[1], uuid, cjson.encode(row))
  return outcome
end

if not is_pending(answer) then return 'unknown' end
if not row then redis.call('HINCRBY', KEYS[4], hour, 1) end
redis.call('HSET', KEYS[1], uuid, cjson.encode({'', '', '', label}))
keep(KEYS[1], ttl)
return 'parked'
