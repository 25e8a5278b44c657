#!lua flags=no-writes
-- Entries of a lane behind an id, each with its event: up to so many, and until so many bytes are reached. Nothing if the log
-- is another one.
-- KEYS: the log, the lane; ARGV: the life, the id, how many, how many bytes, how many are looked at in one go.
if redis.call('HGET', KEYS[1], 'life') ~= ARGV[1] then
  return false
end
local page, after, left, bytes = {}, ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
while left > 0 and bytes > 0 do
  local some = math.min(left, tonumber(ARGV[5]))
  local entries = redis.call('XRANGE', KEYS[2], '(' .. after, '+', 'COUNT', some)
  for _, entry in ipairs(entries) do
    after = entry[1]
    local event = ''
    for i = 1, #entry[2], 2 do
      if entry[2][i] == 'event' then
        event = entry[2][i + 1]
      end
    end
    page[#page + 1] = after
    page[#page + 1] = event
    left = left - 1
    bytes = bytes - #event
    if bytes <= 0 then
      break
    end
  end
  if #entries < some then
    break
  end
end
return page
