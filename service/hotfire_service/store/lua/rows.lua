-- Keeps rows as tokens. ARGV: 3 token, 4.. row, sample, ... Returns 1, or 0 where the claim is lost.
if not owns(ARGV[3]) then
  return 0
end
for i = 4, #ARGV, 2 do
  redis.call('HSET', R .. ':rows', ARGV[i], ARGV[i + 1])
end
return 1
