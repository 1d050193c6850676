-- Keep entries from being taken over, but only those that are still ours: a plain XCLAIM would steal them back.
-- KEYS  1 stream   ARGV  1 group  2 consumer  3.. entry ids
-- Returns how many are still ours.
local ours = 0
for position = 3, #ARGV do
  local entry = ARGV[position]
  if #ask('stream', 'XPENDING', KEYS[1], ARGV[1], entry, entry, 1, ARGV[2]) == 1 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, entry, 'JUSTID')
    ours = ours + 1
  end
end
return ours
