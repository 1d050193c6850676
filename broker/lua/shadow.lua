-- Acknowledge what a shadow version has done with, and publish its results beside the live ones: nothing else changes.
-- KEYS  1 requests  2 results   ARGV  1 group  2 JSON: {{entry, result = fields or absent}, ...}
-- Returns per entry 1 where this call finished it, 0 where another did before.
-- XADD comes before XACK: a full server refuses a shadow's results, which nobody waits for.
local group, done = ARGV[1], cjson.decode(ARGV[2])
local wrong = wrong_type({stream = {[KEYS[1]] = true, [KEYS[2]] = true}})
if wrong then return wrong end
local finished = {}
for position, each in ipairs(done) do
  finished[position] = #redis.call('XPENDING', KEYS[1], group, each.entry, each.entry, 1)
  if finished[position] == 1 then
    if each.result then redis.call('XADD', KEYS[2], '*', unpack(each.result)) end
    redis.call('XACK', KEYS[1], group, each.entry)
  end
end
return finished
