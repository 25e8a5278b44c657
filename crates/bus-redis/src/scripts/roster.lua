#!lua flags=allow-oom
-- Writes a roster over the version that was read. Versions are times, or a group that was removed would have them again.
-- KEYS: the group; ARGV: the version, the roster.
local version = redis.call('HGET', KEYS[1], 'version') or '0'
if version ~= ARGV[1] then
  return 0
end
local now = redis.call('TIME')
local next = math.max(tonumber(version) + 1, now[1] * 1000000 + now[2])
redis.call('HSET', KEYS[1], 'roster', ARGV[2], 'version', string.format('%.0f', next))
return 1
