-- ARGV: 3 token, 4 event, 5 progress ('' if the event is none). Returns 1, or 0 where the claim is lost.
if not owns(ARGV[3]) then
  return 0
end
if ARGV[5] ~= '' then
  redis.call('HSET', R, 'progress', ARGV[5])
end
event(ARGV[4])
return 1
