-- Become the only monitor of this tag, or stay it on another server, and return what is known here.
-- KEYS: monitor hash, results, feedback
-- ARGV: owner, epoch that it holds already, or 0
local wrong = wrong_type({hash = {[KEYS[1]] = true}, stream = {[KEYS[2]] = true, [KEYS[3]] = true}})
if wrong then return wrong end

-- How many entries are gone from the front of a stream: the place of its first entry.
local function before_first(key)
  if redis.call('EXISTS', key) == 0 then return 0 end
  local stream = described(redis.call('XINFO', 'STREAM', key))
  return stream['entries-added'] - stream['length']
end

local stored, epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0'), tonumber(ARGV[2])
if epoch > 0 and stored > epoch then return {'fenced', redis.call('HGET', KEYS[1], 'owner') or '?'} end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- Epochs grow with the server's time, so that they grow past a lost hash, too: the monitor started last wins.
if epoch == 0 then epoch = math.max(stored + 1, now) end
redis.call('HSET', KEYS[1], 'epoch', string.format('%d', epoch), 'owner', ARGV[1])
local left = redis.call('HMGET', KEYS[1], 'born', 'state')
return {'ok', string.format('%d', epoch), history(), left[1], left[2], before_first(KEYS[2]), before_first(KEYS[3])}
