-- ARGV: 3 worker, 4 pool, 5 record, 6 TTL ms.
redis.call('SET', P .. 'worker:' .. ARGV[3], ARGV[5], 'PX', ARGV[6])
redis.call('ZADD', P .. 'workers', text(NOW), ARGV[3])
redis.call('ZADD', P .. 'pools', text(NOW), ARGV[4])
return 1
