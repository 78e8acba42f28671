-- The lease ran out. ARGV: 3 most attempts, 4 event QUEUED, 5 event FAILED, 6 error FAILED, 7 event CANCELLED,
-- 8 event log. Returns '' (nothing to do), 'cancelled', 'failed' or 'queued'.
if not alive() then
  redis.call('ZREM', P .. 'leases', ID)
  return ''
end
if state() ~= RUNNING or tonumber(get('lease_ms')) > NOW then
  return ''
end
if get('cancel') ~= '' then
  to_terminal(CANCELLED, ARGV[7])
  return 'cancelled'
end
if tonumber(get('attempt')) >= tonumber(ARGV[3]) then
  redis.call('HSET', R, 'error', ARGV[6])
  to_terminal(FAILED, ARGV[5])
  return 'failed'
end
event(ARGV[8])
to_queue()
redis.call('HDEL', R, 'progress')
event(ARGV[4])
return 'queued'
