-- May this artifact go? ARGV: 3 tenant, 4 sha256. Returns 1: it is marked, delete the content and then forget it.
local member = ARGV[3] .. ':' .. ARGV[4]
local artifact = P .. 'artifact:' .. member
local due = redis.call('ZSCORE', P .. 'artifacts', member)
if not due or tonumber(due) > NOW then
  return 0
end
for _, user in ipairs(redis.call('SMEMBERS', artifact .. ':users')) do
  local s = tonumber(redis.call('HGET', P .. 'preflight:' .. user, 'state') or '0')
  if s == QUEUED or s == RUNNING then
    redis.call('ZADD', P .. 'artifacts', text(NOW + 60000), member)
    return 0
  end
end
redis.call('HSET', artifact, 'deleting', text(NOW))
return 1
