-- The Celery message is out. Returns 1, or 0 if the preflight is not queued (any more).
if not alive() or state() ~= QUEUED then
  redis.call('ZREM', P .. 'unsent', ID)
  return 0
end
redis.call('HSET', R, 'sent_ms', text(NOW))
redis.call('ZREM', P .. 'unsent', ID)
return 1
