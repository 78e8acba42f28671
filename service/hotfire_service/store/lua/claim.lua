-- ARGV: 3 worker, 4 token, 5 lease ms, 6 most attempts, 7 event RUNNING, 8 event FAILED, 9 error FAILED,
-- 10 event CANCELLED.
-- Returns {'claimed', attempt} | {'refused', why}.
if not alive() then
  return {'refused', 'gone'}
end
local now = state()
if now == RUNNING and tonumber(get('lease_ms')) > NOW then
  return {'refused', 'held'}
end
if now ~= QUEUED and now ~= RUNNING then
  return {'refused', 'terminal'}
end
if get('cancel') ~= '' then
  to_terminal(CANCELLED, ARGV[10])
  return {'refused', 'cancelled'}
end
local attempt = tonumber(get('attempt')) + 1
if attempt > tonumber(ARGV[6]) then
  redis.call('HSET', R, 'error', ARGV[9])
  to_terminal(FAILED, ARGV[8])
  return {'refused', 'attempts'}
end
leave_all()
local lease = NOW + tonumber(ARGV[5])
redis.call('HSET', R, 'state', RUNNING, 'attempt', attempt, 'worker', ARGV[3], 'token', ARGV[4],
  'lease_ms', text(lease))
redis.call('HSETNX', R, 'start_ms', text(NOW))
redis.call('HDEL', R, 'progress')
redis.call('ZADD', P .. 'leases', text(lease), ID)
redis.call('SADD', P .. 'pool:' .. get('pool') .. ':running', ID)
event(ARGV[7])
return {'claimed', attempt}
