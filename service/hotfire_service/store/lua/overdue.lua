-- Nobody took it in time. ARGV: 3 event EXPIRED, 4 event FAILED, 5 error FAILED.
-- One that had already run once did start: it is FAILED (its worker was lost), not EXPIRED.
-- Returns '' | 'expired' | 'failed'.
local deadline = redis.call('ZSCORE', P .. 'queued', ID)
if not deadline or tonumber(deadline) > NOW then
  return ''
end
if not alive() or state() ~= QUEUED then
  redis.call('ZREM', P .. 'queued', ID)
  return ''
end
if tonumber(get('attempt')) > 0 then
  redis.call('HSET', R, 'error', ARGV[5])
  to_terminal(FAILED, ARGV[4])
  return 'failed'
end
to_terminal(EXPIRED, ARGV[3])
return 'expired'
