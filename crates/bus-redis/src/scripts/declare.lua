#!lua flags=allow-oom
-- The log of a source: made if it is not there, and refused if something is in its place. Gives its life, its number of lanes,
-- and whether anything else is still to be made.
-- KEYS: the log, and what belongs to it; ARGV: a life for a new one, its lanes, then the type of each key.
local missing = 0
for i, key in ipairs(KEYS) do
  local found = redis.call('TYPE', key).ok
  if found == 'none' then
    missing = missing + 1
  elseif found ~= ARGV[i + 2] then
    return {'type', key, found, ARGV[i + 2]}
  end
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'life', ARGV[1], 'lanes', ARGV[2])
end
local log = redis.call('HMGET', KEYS[1], 'life', 'lanes')
return {'log', log[1] or '', log[2] or '', tostring(missing)}
