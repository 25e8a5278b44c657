-- Counts a request by the generic cell rate algorithm, if there is room for it. What is kept is when the quota will be whole
-- again, in seconds and nanoseconds, and it is kept until then.
-- Numbers are doubles, which are exact up to 2^53: the nanoseconds of a date are more than that, those of any window are not.
-- KEYS: the subject's; ARGV: in how many nanoseconds one request comes back, and in how many all but one.
-- Gives 1 and in how many nanoseconds the quota will be whole, or 0 and in how many the next request will be let through.
local period, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local seconds, nanos = tonumber(time[1]), tonumber(time[2]) * 1000

local function keep(owed)
  local whole = nanos + owed
  local rest = math.fmod(whole, 1e9)
  local value = string.format('%.0f %.0f', seconds + (whole - rest) / 1e9, rest)
  redis.call('SET', KEYS[1], value, 'PX', string.format('%.0f', math.ceil(owed / 1e6)))
end

local owed = 0
local whole_seconds, whole_nanos = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
if whole_seconds then
  owed = math.max(0, (whole_seconds - seconds) * 1e9 + (whole_nanos - nanos))
end
-- No more than a quota is ever owed. If it is, the clock was set back, or there is a smaller quota now.
if owed > tolerance + period then
  owed = tolerance + period
  keep(owed)
end
if owed > tolerance then
  return {0, owed - tolerance}
end
keep(owed + period)
return {1, owed + period}
