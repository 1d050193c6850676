-- Remove a consumer that holds nothing: DELCONSUMER destroys what is pending, so both must be one step.
-- KEYS  1 stream   ARGV  1 group  2 consumer
if #ask('stream', 'XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
