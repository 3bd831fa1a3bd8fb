-- Every command of a relay, as one script: it happens as a whole or not at all. `cluster/command.rs`
-- has the table; `tests/cluster/engine.rs` says the same in Rust, and both are compared.
-- ARGV: command, run id of this server as its relay knows it, epoch, relay, the rest by command.
local A = ARGV
local command, run, epoch, relay = A[1], A[2], A[3], A[4]
local P = 'authrelay:'
local LEASE, GONE, JUMP, SLEW, MINUTE = 30000, 900000, 20000, 1000, 60000
local call = redis.call

local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function int(number)
  return string.format('%.0f', number)
end

local function tell(...)
  call('PUBLISH', P .. 'told', table.concat({ ... }, ' '))
end

local marker = call('HMGET', P .. 'marker', 'run', 'epoch', 'since', 'beat')
local beat = tonumber(marker[4] or '0')
local jumped = now + SLEW < beat or now > beat + JUMP

local function pairs_into_roster(from, only_new)
  for at = from, #A - 1, 2 do
    local heard = int(now - tonumber(A[at + 1]))
    if only_new then
      call('ZADD', P .. 'roster', 'NX', heard, A[at])
    else
      call('ZADD', P .. 'roster', heard, A[at])
    end
  end
end

if command == 'mark' then
  if marker[1] == run and not jumped then
    return { 'marked', marker[2] }
  end
  call('HSET', P .. 'marker', 'run', run, 'epoch', A[5], 'since', int(now), 'beat', int(now))
  call('DEL', P .. 'back')
  -- Times of before mean nothing any more.
  for _, id in ipairs(call('ZRANGE', P .. 'roster', 0, -1)) do
    call('ZADD', P .. 'roster', int(now), id)
  end
  pairs_into_roster(6, false)
  tell('L')
  return { 'marked', A[5] }
end

if command == 'epoch' then
  if marker[1] == run and not jumped then
    return { 'marked', marker[2] }
  end
  return { 'lost' }
end

if marker[1] ~= run or marker[2] ~= epoch or jumped then
  return { 'lost' }
end

local function is_settled()
  for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'roster', '(' .. int(now - GONE), '+inf')) do
    if call('SISMEMBER', P .. 'back', id) == 0 then
      return false
    end
  end
  return true
end

local function roster()
  call('ZREMRANGEBYSCORE', P .. 'roster', '-inf', int(now - GONE))
  local answer = { 'roster', is_settled() and '1' or '0' }
  local all = call('ZRANGE', P .. 'roster', 0, -1, 'WITHSCORES')
  for at = 1, #all, 2 do
    answer[#answer + 1] = all[at]
    answer[#answer + 1] = int(math.max(0, now - tonumber(all[at + 1])))
  end
  return answer
end

local function record_of(name)
  local it = call('HMGET', P .. 'r:' .. name, 'c', 'g', 'e', 't', 'er', 'en', 'eu', 'eo')
  local record = { c = tonumber(it[1] or '-1'), g = tonumber(it[2] or '-1'), e = it[3], t = it[4] }
  if it[5] then
    local holds
    if it[8] == '1' then
      local heard = tonumber(call('ZSCORE', P .. 'roster', it[5]) or '-1')
      holds = heard > now - GONE
    else
      holds = tonumber(it[7]) > now
    end
    record.entry = { relay = it[5], nonce = it[6], holds = holds }
  end
  return record
end

-- Whether this number is stored and not ended; a token of an application's own may be the first.
local function is_stored(record, c, g)
  if not record.t then
    return tonumber(c) == 0 and tonumber(g) == 0
  end
  return record.c == tonumber(c) and record.g == tonumber(g) and record.e ~= '1'
end

local function enter(name, record, nonce, one_use)
  local key = P .. 'r:' .. name
  call('HSET', key, 'er', relay, 'en', nonce, 'eu', int(now + LEASE), 'eo', one_use)
  if not record.t then
    call('PEXPIRE', key, 2 * LEASE)
  end
  return { 'done' }
end

local function leave(name)
  call('HDEL', P .. 'r:' .. name, 'er', 'en', 'eu', 'eo')
end

local function stored(tag, record)
  return { tag, int(record.c), int(record.g), record.e or '0', record.t }
end

-- A place in a sorted set of this epoch: what was counted before a loss counts no more.
local function place(kind, mailbox)
  return P .. kind .. ':' .. epoch .. ':' .. mailbox
end

-- nil: the message begins within the minute; else how long it has to wait.
local function pace(mailbox, message, per_minute)
  local key = place('p', mailbox)
  call('ZREMRANGEBYSCORE', key, '-inf', int(now - MINUTE))
  local count = call('ZCARD', key)
  if count < per_minute then
    call('ZADD', key, int(now), relay .. '/' .. message)
    call('PEXPIRE', key, 2 * MINUTE)
    return nil
  end
  local at = math.max(0, count - math.max(1, per_minute))
  local free = call('ZRANGE', key, at, at, 'WITHSCORES')
  return { 'wait', int(math.max(0, tonumber(free[2] or now) + MINUTE - now)) }
end

local function hold(mailbox, from, to)
  local key = place('m', mailbox)
  for at = from, to do
    call('ZADD', key, int(now + LEASE), relay .. '/' .. A[at])
  end
  call('PEXPIRE', key, 2 * LEASE)
end

if command == 'back' then
  pairs_into_roster(5, true)
  local known = call('ZSCORE', P .. 'roster', relay)
  call('ZADD', P .. 'roster', int(now), relay)
  call('SADD', P .. 'back', relay)
  if not known then
    tell('J', relay)
  end
  return roster()
elseif command == 'beat' then
  -- A beat that was overtaken by its relay's good-bye brings no relay back.
  if call('SISMEMBER', P .. 'back', relay) == 1 then
    call('ZADD', P .. 'roster', int(now), relay)
  end
  call('HSET', P .. 'marker', 'beat', int(math.max(now, beat)))
  return roster()
elseif command == 'leave' then
  call('ZREM', P .. 'roster', relay)
  call('SREM', P .. 'back', relay)
  return { 'done' }
elseif command == 'get' then
  local record = record_of(A[5])
  local answer = record.t and stored('found', record) or { 'found', '', '', '', '' }
  if record.entry and record.entry.holds then
    answer[6], answer[7] = record.entry.relay, record.entry.nonce
  end
  return answer
elseif command == 'names' then
  local answer = call('SMEMBERS', P .. 'consents')
  table.insert(answer, 1, 'names')
  return answer
elseif command == 'put' then
  -- name, consent, generation, ended, text, life (0: for ever)
  local name, c, g = A[5], tonumber(A[6]), tonumber(A[7])
  local record = record_of(name)
  if record.t and (record.c > c or (record.c == c and record.g >= g)) then
    if record.c == c and record.g == g and record.t == A[9] then
      return { 'done' }
    end
    return stored('greater', record)
  end
  local key = P .. 'r:' .. name
  call('HSET', key, 'c', A[6], 'g', A[7], 'e', A[8], 't', A[9])
  leave(name)
  if A[10] == '0' then
    call('PERSIST', key)
    call('SADD', P .. 'consents', name)
  else
    call('PEXPIRE', key, A[10])
    call('SREM', P .. 'consents', name)
  end
  tell('R', name, A[6], A[7], A[8], A[9])
  return { 'done' }
elseif command == 'begin' or command == 'enter' then
  -- name, consent, generation, nonce, one use
  local name = A[5]
  local record = record_of(name)
  if not is_stored(record, A[6], A[7]) then
    return { 'moved' }
  end
  if command == 'begin' then
    if A[9] == '1' and not is_settled() then
      return { 'settling' }
    end
    if record.entry and record.entry.holds then
      return { 'held' }
    end
  end
  return enter(name, record, A[8], A[9])
elseif command == 'renew' then
  local record = record_of(A[5])
  if record.entry and record.entry.nonce == A[6] then
    call('HSET', P .. 'r:' .. A[5], 'eu', int(now + LEASE))
    return { 'done' }
  end
  return { 'moved' }
elseif command == 'clear' then
  local record = record_of(A[5])
  if record.entry and record.entry.nonce == A[6] then
    leave(A[5])
  end
  return { 'done' }
elseif command == 'end' then
  -- name, nonce, consent, generation, text
  local record = record_of(A[5])
  local own = record.entry and record.entry.nonce == A[6]
  if not own or not record.t or not is_stored(record, A[7], A[8]) then
    return { 'moved' }
  end
  call('HSET', P .. 'r:' .. A[5], 'e', '1', 't', A[9])
  leave(A[5])
  tell('R', A[5], A[7], A[8], '1', A[9])
  return { 'done' }
elseif command == 'acquire' then
  -- mailbox, message, limit, share, per minute, own messages
  local mailbox, key = A[5], place('m', A[5])
  call('ZREMRANGEBYSCORE', key, '-inf', int(now))
  hold(mailbox, 10, #A)
  local settles = now < tonumber(marker[3]) + LEASE and not is_settled()
  local fits
  if settles then
    fits = #A - 9 < tonumber(A[8])
  else
    fits = call('ZCARD', key) < tonumber(A[7])
  end
  if not fits then
    return { 'held' }
  end
  local wait = pace(mailbox, A[6], tonumber(A[9]))
  if wait then
    return wait
  end
  hold(mailbox, 6, 6)
  return { 'done' }
elseif command == 'hold' then
  hold(A[5], 6, #A)
  return { 'done' }
elseif command == 'release' then
  call('ZREM', place('m', A[5]), relay .. '/' .. A[6])
  return { 'done' }
elseif command == 'pace' then
  return pace(A[5], A[6], tonumber(A[7])) or { 'done' }
elseif command == 'keep' then
  -- name, value, life, whether it is published
  local key = P .. 'v:' .. A[5]
  if call('PTTL', key) < tonumber(A[7]) then
    call('SET', key, A[6], 'PX', A[7])
    if A[8] == '1' then
      call('ZADD', P .. 'kept', int(now + tonumber(A[7])), A[5])
      tell('K', A[5], A[7], A[6])
    end
  end
  return { 'done' }
elseif command == 'look' or command == 'take' then
  local key = P .. 'v:' .. A[5]
  local value, left = call('GET', key), call('PTTL', key)
  if command == 'take' then
    call('DEL', key)
  end
  if value then
    return { 'value', '1', value, int(math.max(0, left)) }
  end
  return { 'value', '0', '', '0' }
elseif command == 'recall' then
  call('ZREMRANGEBYSCORE', P .. 'kept', '-inf', int(now))
  local answer = { 'values' }
  for _, name in ipairs(call('ZRANGE', P .. 'kept', 0, 9999)) do
    local key = P .. 'v:' .. name
    local value = call('GET', key)
    if value then
      answer[#answer + 1] = name
      answer[#answer + 1] = value
      answer[#answer + 1] = int(math.max(0, call('PTTL', key)))
    end
  end
  return answer
elseif command == 'count' then
  -- name, window, most, lock; most 0: only look
  local key = P .. 'f:' .. A[5]
  local most = tonumber(A[7])
  local it = call('HMGET', key, 'n', 'until', 'lock')
  local n, lock = tonumber(it[1] or '0'), tonumber(it[3] or '0')
  if tonumber(it[2] or '0') <= now then
    n = 0
  end
  if most > 0 then
    n = n + 1
    -- What has locked counts no more.
    local counts = n
    if n >= most then
      lock, counts = now + tonumber(A[8]), 0
    end
    local window, left = tonumber(A[6]), math.max(0, lock - now)
    call('HSET', key, 'n', int(counts), 'until', int(now + window), 'lock', int(lock))
    call('PEXPIRE', key, int(math.max(window, left)))
    tell('F', A[5], int(n), int(left))
  end
  return { 'counted', int(n), int(math.max(0, lock - now)) }
elseif command == 'uncount' then
  if call('DEL', P .. 'f:' .. A[5]) == 1 then
    tell('F', A[5], '0', '0')
  end
  return { 'counted', '0', '0' }
end
return redis.error_reply('ERR authrelay: no such command')
