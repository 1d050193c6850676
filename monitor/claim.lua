-- Become the only monitor of this tag and return what the last one left.
-- KEYS: monitor hash, results, feedback
-- ARGV: owner
local function kind(key) return redis.call('TYPE', key)['ok'] end
for i, wanted in ipairs({'hash', 'stream', 'stream'}) do
  local found = kind(KEYS[i])
  if found ~= 'none' and found ~= wanted then
    return redis.error_reply('WRONGKEY ' .. KEYS[i] .. ' ' .. found)
  end
end

-- How many entries are gone from the front of a stream: the place of its first entry.
local function before_first(key)
  if kind(key) == 'none' then return 0 end
  local info, added, length = redis.call('XINFO', 'STREAM', key), 0, 0
  for i = 1, #info, 2 do
    if info[i] == 'entries-added' then added = info[i + 1] end
    if info[i] == 'length' then length = info[i + 1] end
  end
  return added - length
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stored = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
-- Epochs grow with the server's time, so that they grow past a lost hash, too: the monitor started last wins.
local epoch = math.max(stored + 1, now)
redis.call('HSET', KEYS[1], 'epoch', string.format('%d', epoch), 'owner', ARGV[1])
local left = redis.call('HMGET', KEYS[1], 'born', 'state')
return {string.format('%d', epoch), left[1], left[2], before_first(KEYS[2]), before_first(KEYS[3])}
