-- ARGV: 3 event CANCELLED, 4 progress 'cancelling', 5 event of that progress. Returns the state before, 0 if gone.
if not alive() then
  return 0
end
local before = state()
if before == QUEUED then
  to_terminal(CANCELLED, ARGV[3])
elseif before == RUNNING and get('cancel') == '' then
  redis.call('HSET', R, 'cancel', text(NOW), 'progress', ARGV[4])
  event(ARGV[5])
end
return before
