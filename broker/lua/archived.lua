-- Move the archive's group over entries that are in a file now, unless somebody else is writing or it is another log.
-- KEYS  1 lease of who writes files  2 born  3 stream
-- ARGV  1 the lease's value  2 the log's mark  3 group  4 where the group stands  5 the last entry written  6 entries written
-- Returns ok, or what is different: lease, born, group (there is none), moved (it stands elsewhere).
local wrong = wrong_type({string = {[KEYS[1]] = true, [KEYS[2]] = true}, stream = {[KEYS[3]] = true}})
if wrong then return wrong end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'lease' end
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 'born' end
if redis.call('EXISTS', KEYS[3]) == 0 then return 'group' end

local group
for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[3])) do
  local found = described(info)
  if found['name'] == ARGV[3] then group = found end
end
if not group then return 'group' end
if group['last-delivered-id'] ~= ARGV[4] then return 'moved' end

-- How many entries were ever added up to there: certain at the end and before the first entry left, else counted on.
local stream = described(redis.call('XINFO', 'STREAM', KEYS[3]))
local read = group['entries-read'] and group['entries-read'] + tonumber(ARGV[6])
local first = stream['first-entry']
if stream['length'] == 0 or not older(ARGV[5], stream['last-generated-id']) then
  read = stream['entries-added']
elseif first and older(ARGV[5], first[1]) then
  read = stream['entries-added'] - stream['length']
end
if read then
  redis.call('XGROUP', 'SETID', KEYS[3], ARGV[3], ARGV[5], 'ENTRIESREAD', string.format('%d', read))
else
  redis.call('XGROUP', 'SETID', KEYS[3], ARGV[3], ARGV[5])
end
return 'ok'
