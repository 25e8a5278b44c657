#!lua flags=allow-oom
-- Makes the stream of a lane, with nothing in it.
-- KEYS: the lane.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('XADD', KEYS[1], 'MAXLEN', 0, '*', 'event', '')
end
