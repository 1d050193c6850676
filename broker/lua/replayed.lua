-- Add results to a side stream that keeps its newest entries for a while.
-- KEYS  1 side stream   ARGV  1 JSON: fields of each result  2 entries kept  3 seconds
local wrong = wrong_type({stream = {[KEYS[1]] = true}})
if wrong then return wrong end
for _, fields in ipairs(cjson.decode(ARGV[1])) do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(fields))
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 0
