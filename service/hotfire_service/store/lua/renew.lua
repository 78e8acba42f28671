-- ARGV: 3 token, 4 lease ms. Returns 1, or 0 where the claim is lost.
if not owns(ARGV[3]) then
  return 0
end
local lease = text(NOW + tonumber(ARGV[4]))
redis.call('HSET', R, 'lease_ms', lease)
redis.call('ZADD', P .. 'leases', lease, ID)
return 1
