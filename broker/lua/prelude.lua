-- What every script begins with.

-- Return an error that names the first of the keys that holds another type; Lua does not roll back, so this comes
-- before the first write. *wanted*: Redis type to a set of keys.
local function wrong_type(wanted)
  for kind, keys in pairs(wanted) do
    for key in pairs(keys) do
      local found = redis.call('TYPE', key).ok
      if found ~= 'none' and found ~= kind then return redis.error_reply('WRONGKEY ' .. key .. ' ' .. found) end
    end
  end
end

-- Run a command on a key; an error names the key where it holds another type than *kind*. Until the first write, and
-- for it, this takes the place of asking for the type: each redis.call is a good part of what a script costs.
local function ask(kind, command, key, ...)
  local found = redis.pcall(command, key, ...)
  if type(found) == 'table' and found.err then error(wrong_type({[kind] = {[key] = true}}) or found) end
  return found
end

-- Whether *stored* stands for an answer that is still to come. Scripts compare with nothing else: what is kept for a
-- caller with an API key ends with a line end and the key's id.
local function is_pending(stored) return stored == 'pending' or string.sub(stored, 1, 8) == 'pending\n' end

-- Return that end of what is stored; empty where no key asked.
local function owner_in(stored) return string.match(stored, '\n.*$') or '' end

-- Let *key* live for *seconds* from now, or longer if it may already.
local function keep(key, seconds)
  if redis.call('TTL', key) < tonumber(seconds) then redis.call('EXPIRE', key, seconds) end
end

-- Return the run of this server process and what it replicates; broker/history.py says what for.
local function history()
  local info = redis.call('INFO', 'server', 'replication')
  return string.match(info, '%f[%w]run_id:(%w+)') .. ' ' .. string.match(info, '%f[%w]master_replid:(%w+)')
end

-- Return the table of a flat reply of names and values, as XINFO gives one.
local function described(flat)
  local of = {}
  for position = 1, #flat, 2 do of[flat[position]] = flat[position + 1] end
  return of
end

-- Return the table that *text* says in JSON, or nil: what somebody else wrote counts as absent, and must stop nothing.
local function decoded(text)
  local fine, value = pcall(cjson.decode, text)
  if fine and type(value) == 'table' then return value end
end

-- Return whether the first *count* values of a list are strings.
local function are_strings(list, count)
  for position = 1, count do
    if type(list[position]) ~= 'string' then return false end
  end
  return true
end

-- Return the join row {predicted, confidence, version, label, tags, ms, key} that *text* is, the last three of them or
-- nil; or nil.
local function join_row(text)
  local row = text and decoded(text)
  if not row or not are_strings(row, row[5] == nil and 4 or 5) then return end
  if row[6] ~= nil and type(row[6]) ~= 'number' or row[7] ~= nil and type(row[7]) ~= 'string' then return end
  return row
end

-- Return what is kept of a request that waits for its answer: when its deadline passes, Redis time in ms, and its entry.
local function waiting_until(entry, deadline_ms)
  return string.format('%.0f %s', tonumber(string.match(entry, '^%d+')) + deadline_ms, entry)
end

-- Return whether entry id *a* came before *b*.
local function older(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  if a_ms ~= b_ms then return tonumber(a_ms) < tonumber(b_ms) end
  return tonumber(a_seq) < tonumber(b_seq)
end

-- Return the first id that may come after *id*; a sequence may be larger than Lua can count.
local function after(id)
  local ms, sequence = string.match(id, '^(%d+)-(%d+)$')
  if sequence == '18446744073709551615' then return string.format('%.0f-0', tonumber(ms) + 1) end
  local head, nines = string.match('0' .. sequence, '^(.-)(9*)$')
  return ms .. '-' .. string.sub(head, 1, -2) .. tonumber(string.sub(head, -1)) + 1 .. string.rep('0', #nines)
end

-- Tell Redis how many entries of a stream lie at or before a group's place, from which it knows the group's lag.
local function set_read(stream, group, count)
  redis.call('XGROUP', 'SETID', stream, group['name'], group['last-delivered-id'], 'ENTRIESREAD', string.format('%d', count))
end

-- Append values to the list that *lists* has under *name*.
local function push(lists, name, ...)
  local list = lists[name] or {}
  lists[name] = list
  for position = 1, select('#', ...) do list[#list + 1] = (select(position, ...)) end
end

local PIECE = 1000  -- values that are unpacked at once, an even number; Lua has room for some thousands

-- Return those of the *fields* of a hash that are there, with their values.
local function values_of(key, fields)
  local values = {}
  for from = 1, #fields, PIECE do
    local to = math.min(#fields, from + PIECE - 1)
    for position, value in ipairs(ask('hash', 'HMGET', key, unpack(fields, from, to))) do
      if value then values[fields[from + position - 1]] = value end
    end
  end
  return values
end

-- Set fields of a hash; *flat* is name, value, name, value.
local function set_fields(key, flat)
  for from = 1, #flat, PIECE do
    redis.call('HSET', key, unpack(flat, from, math.min(#flat, from + PIECE - 1)))
  end
end
