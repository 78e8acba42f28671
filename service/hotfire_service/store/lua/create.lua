-- ARGV: 3 request key ('' without), 4 body hash, 5 request TTL ms, 6 most active preflights (0: any),
-- 7 event of the first state, 8 event of the first progress ('' without), 9.. field, value, ...
-- Returns {'created'} | {'exists', key id} | {'conflict', field} | {'quota', active} | {'artifact', sha256}.
local request_key, body_hash = ARGV[3], ARGV[4]
local fields = {}
for i = 9, #ARGV, 2 do
  fields[ARGV[i]] = ARGV[i + 1]
end
local tenant, first = fields['tenant'], tonumber(fields['state'])

if request_key ~= '' then
  local previous = redis.call('GET', request_key)
  if previous then
    local hash, id = string.match(previous, '^(%S+) (%S+)$')
    if hash ~= body_hash then
      return {'conflict', 'request_id'}
    end
    if redis.call('EXISTS', P .. 'preflight:' .. id) == 1 then
      return {'exists', id}
    end
  end
end
if alive() then
  if get('body_hash') == body_hash then
    return {'exists', ID}
  end
  return {'conflict', 'preflight_id'}
end
if redis.call('EXISTS', R) == 1 then
  purge()
end

local most = tonumber(ARGV[6])
if first == QUEUED and most > 0 then
  local active = redis.call('SCARD', P .. 'tenant:' .. tenant .. ':active')
  if active >= most then
    return {'quota', active}
  end
end
for sha in string.gmatch(fields['artifacts'], '%x+') do
  local artifact = P .. 'artifact:' .. tenant .. ':' .. sha
  if redis.call('EXISTS', artifact) == 0 or redis.call('HEXISTS', artifact, 'deleting') == 1 then
    return {'artifact', sha}
  end
end

for name, value in pairs(fields) do
  redis.call('HSET', R, name, value)
end
redis.call('HSET', R, 'create_ms', text(NOW), 'body_hash', body_hash, 'request_key', request_key, 'attempt', 0,
  'cursor', 0)
for sha in string.gmatch(fields['artifacts'], '%x+') do
  redis.call('SADD', P .. 'artifact:' .. tenant .. ':' .. sha .. ':users', ID)
end
if request_key ~= '' then
  redis.call('SET', request_key, body_hash .. ' ' .. ID, 'PX', ARGV[5])
end
redis.call('ZADD', P .. 'tenant:' .. tenant .. ':preflights', text(NOW), ID)
if first == QUEUED then
  to_queue()
  event(ARGV[7])
  if ARGV[8] ~= '' then
    event(ARGV[8])
  end
else
  to_terminal(first, ARGV[7])
end
return {'created'}
