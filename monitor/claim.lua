-- Become the only monitor of this tag and return what the last one left.
-- KEYS: monitor hash, results, feedback
-- ARGV: owner
local wrong = wrong_type({hash = {[KEYS[1]] = true}, stream = {[KEYS[2]] = true, [KEYS[3]] = true}})
if wrong then return wrong end

-- How many entries are gone from the front of a stream: the place of its first entry.
local function before_first(key)
  if redis.call('EXISTS', key) == 0 then return 0 end
  local stream = described(redis.call('XINFO', 'STREAM', key))
  return stream['entries-added'] - stream['length']
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stored = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
-- Epochs grow with the server's time, so that they grow past a lost hash, too: the monitor started last wins.
local epoch = math.max(stored + 1, now)
redis.call('HSET', KEYS[1], 'epoch', string.format('%d', epoch), 'owner', ARGV[1])
local left = redis.call('HMGET', KEYS[1], 'born', 'state')
return {string.format('%d', epoch), left[1], left[2], before_first(KEYS[2]), before_first(KEYS[3])}
