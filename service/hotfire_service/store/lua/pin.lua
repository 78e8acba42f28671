-- Makes an artifact known, or keeps it for another TTL. ARGV: 3 tenant, 4 sha256, 5 kind, 6 TTL ms.
-- Returns 'ok', or 'deleting' while somebody removes the old content: try again.
local artifact = P .. 'artifact:' .. ARGV[3] .. ':' .. ARGV[4]
if redis.call('HEXISTS', artifact, 'deleting') == 1 then
  return 'deleting'
end
redis.call('HSET', artifact, 'kind' .. ARGV[5], 1)
redis.call('ZADD', P .. 'artifacts', text(NOW + tonumber(ARGV[6])), ARGV[3] .. ':' .. ARGV[4])
return 'ok'
