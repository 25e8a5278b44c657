#!lua flags=no-writes
-- The id of the last entry of a lane; nothing if the log is another one.
-- KEYS: the log, the lane; ARGV: the life.
if redis.call('HGET', KEYS[1], 'life') ~= ARGV[1] then
  return false
end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
return last[1] and last[1][1] or '0-0'
