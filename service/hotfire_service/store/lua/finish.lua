-- ARGV: 3 token, 4 state, 5 event, 6 report, 7 error, 8 verdict, 9 headline, 10 cacheable (1 or 0).
-- Returns 1, or 0 where the claim is lost.
if not owns(ARGV[3]) then
  return 0
end
local names = {[6] = 'report', [7] = 'error', [8] = 'verdict', [9] = 'headline'}
for i, name in pairs(names) do
  if ARGV[i] ~= '' then
    redis.call('HSET', R, name, ARGV[i])
  end
end
to_terminal(tonumber(ARGV[4]), ARGV[5])
if ARGV[10] == '1' and get('fingerprint') ~= '' then
  redis.call('SET', P .. 'cache:' .. get('tenant') .. ':' .. get('fingerprint'), ID, 'PX', get('ttl_ms'))
end
return 1
