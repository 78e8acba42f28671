-- Gives a claim back. ARGV: 3 token, 4 requeue (1 or 0), 5 preempted (1 or 0), 6 event QUEUED, 7 event CANCELLED.
-- Without requeue the lease ends now, and the reaper takes it for a lost worker.
-- Returns 1, or 0 where the claim is lost.
if not owns(ARGV[3]) then
  return 0
end
if ARGV[5] == '1' then
  -- An operator's restart is not the preflight's fault.
  redis.call('HINCRBY', R, 'attempt', -1)
end
if get('cancel') ~= '' then
  to_terminal(CANCELLED, ARGV[7])
elseif ARGV[4] == '1' then
  to_queue()
  event(ARGV[6])
else
  redis.call('HSET', R, 'lease_ms', text(NOW))
  redis.call('ZADD', P .. 'leases', text(NOW), ID)
end
return 1
