-- Put before every script. ARGV[1] is the key prefix, ARGV[2] the preflight's key id (may be empty).
-- Key names: see keys.py. Times are milliseconds of the Redis server's clock, the only clock there is.
local P, ID = ARGV[1], ARGV[2]
local QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED, EXPIRED = 1, 2, 3, 4, 5, 6
local R = P .. 'preflight:' .. ID

local time = redis.call('TIME')
local NOW = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

-- Lua prints large numbers as 1.7e+12 unless told otherwise.
local function text(number)
  return string.format('%.0f', number)
end

local function get(field)
  return redis.call('HGET', R, field) or ''
end

local function state()
  return tonumber(get('state')) or 0
end

-- There, and not past its expire time (the reaper may not have come by yet).
local function alive()
  local expire = redis.call('HGET', R, 'expire_ms')
  return expire and tonumber(expire) > NOW
end

-- The caller holds the claim: nobody else was given a newer one.
local function owns(token)
  return alive() and state() == RUNNING and get('token') == token
end

-- Appends an event; its number is the cursor. Returns the number.
local function event(payload)
  local n = redis.call('HINCRBY', R, 'cursor', 1)
  redis.call('XADD', R .. ':events', 'MAXLEN', get('events_maxlen'), n .. '-0',
    'event', payload, 'attempt', get('attempt'), 'time_ms', text(NOW))
  redis.call('PUBLISH', P .. 'changed', ID)
  return n
end

local function expire_at(ms)
  redis.call('HSET', R, 'expire_ms', text(ms))
  redis.call('ZADD', P .. 'expirations', text(ms), ID)
end

local function leave_all()
  local pool = get('pool')
  redis.call('SREM', P .. 'pool:' .. pool .. ':queued', ID)
  redis.call('SREM', P .. 'pool:' .. pool .. ':running', ID)
  redis.call('ZREM', P .. 'queued', ID)
  redis.call('ZREM', P .. 'unsent', ID)
  redis.call('ZREM', P .. 'leases', ID)
end

local function to_queue()
  leave_all()
  local timeout = tonumber(get('queue_timeout_ms'))
  redis.call('HSET', R, 'state', QUEUED, 'queued_ms', text(NOW), 'sent_ms', 0)
  redis.call('HDEL', R, 'token', 'worker')
  redis.call('SADD', P .. 'pool:' .. get('pool') .. ':queued', ID)
  redis.call('SADD', P .. 'tenant:' .. get('tenant') .. ':active', ID)
  redis.call('ZADD', P .. 'queued', text(NOW + timeout), ID)
  redis.call('ZADD', P .. 'unsent', text(NOW), ID)
  -- Far enough away that neither the queue nor the run can reach it.
  expire_at(NOW + timeout + tonumber(get('ttl_ms')) + 86400000)
end

local function to_terminal(to, payload)
  leave_all()
  redis.call('SREM', P .. 'tenant:' .. get('tenant') .. ':active', ID)
  redis.call('HSET', R, 'state', to, 'end_ms', text(NOW))
  redis.call('HDEL', R, 'token', 'worker', 'progress')
  expire_at(NOW + tonumber(get('ttl_ms')))
  event(payload)
end

-- Removes everything of the record. An artifact that nobody names any more is due at once.
local function purge()
  leave_all()
  local tenant = get('tenant')
  redis.call('SREM', P .. 'tenant:' .. tenant .. ':active', ID)
  redis.call('ZREM', P .. 'tenant:' .. tenant .. ':preflights', ID)
  redis.call('ZREM', P .. 'expirations', ID)
  for sha in string.gmatch(get('artifacts'), '%x+') do
    local artifact = P .. 'artifact:' .. tenant .. ':' .. sha
    redis.call('SREM', artifact .. ':users', ID)
    if redis.call('EXISTS', artifact) == 1 and redis.call('SCARD', artifact .. ':users') == 0 then
      redis.call('ZADD', P .. 'artifacts', 0, tenant .. ':' .. sha)
    end
  end
  local request = get('request_key')
  if request ~= '' then
    redis.call('DEL', request)
  end
  redis.call('DEL', R, R .. ':events', R .. ':rows')
  redis.call('PUBLISH', P .. 'changed', ID)
end
