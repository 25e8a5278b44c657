#!lua flags=allow-oom
-- Keeps how far a group has come, but where something further on is kept. Gives what is kept then; nothing if the log is
-- another one.
-- KEYS: the log, the group; ARGV: the life, then each lane and the id of its last entry that is done with.
if redis.call('HGET', KEYS[1], 'life') ~= ARGV[1] then
  return {}
end
local kept, fields = {}, {}
for i = 2, #ARGV, 2 do
  local field, id = 'lane.' .. ARGV[i], ARGV[i + 1]
  local life, time, number = string.match(redis.call('HGET', KEYS[2], field) or '', '^(%S+) (%d+)-(%d+)$')
  local new_time, new_number = string.match(id, '^(%d+)-(%d+)$')
  local ahead = tonumber(time or 0) - tonumber(new_time)
  if ahead == 0 then
    ahead = tonumber(number or 0) - tonumber(new_number)
  end
  if life == ARGV[1] and ahead >= 0 then
    id = time .. '-' .. number
  else
    fields[#fields + 1] = field
    fields[#fields + 1] = ARGV[1] .. ' ' .. id
  end
  kept[#kept + 1] = ARGV[i]
  kept[#kept + 1] = id
end
if #fields > 0 then
  redis.call('HSET', KEYS[2], unpack(fields))
end
return kept
