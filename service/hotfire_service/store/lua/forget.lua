-- The content of a retired artifact is gone. ARGV: 3 tenant, 4 sha256.
local member = ARGV[3] .. ':' .. ARGV[4]
redis.call('DEL', P .. 'artifact:' .. member, P .. 'artifact:' .. member .. ':users')
redis.call('ZREM', P .. 'artifacts', member)
return 1
