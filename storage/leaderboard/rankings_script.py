"""The Lua of the rankings: every step on a board is one script, so nobody sees half of it (docs/architecture.md, the life of an event).

A board's window has three keys. `z`: a sorted set of order key + external id, all scores 0, so that byte order is the order of the
board. `u`: external id → order key. `m`: what the two hold: `shape` (the ranking they were made with; it exists only when they are
complete), `n`, how many they hold (so that keys that were deleted, evicted or written by others are noticed at once), and for each
scoring partition `e<n>` and `t<n>`, the owner's epoch and the position up to which it has been published;
`g<n>` and `gaps` mark partitions of which something is missing. `w<n>` is a position whose publication could not be applied: a board that
is filled from before it has a gap from the start, so that nobody who has read it from PostgreSQL reads an older board here.
"""

import hashlib

# Wakes those who watch the board (storage/leaderboard/feed.py). A change that could not be applied here is one in PostgreSQL all the same.
ANNOUNCE = """
local function announce() redis.call('PUBLISH', string.match(KEYS[1], '^[^}]*}') .. ':changed', '') end
"""

# Whether what `m` says of the other two is still so, given the shape that it holds and its count.
WHOLE = """
local function whole(shape, wanted, n)
    n = tonumber(n)
    return shape == wanted and n == redis.call('ZCARD', KEYS[1]) and n == redis.call('HLEN', KEYS[2])
end
"""

PUBLISH = (
    ANNOUNCE
    + WHOLE
    + """
local p, epoch, from, to, shape = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local held = redis.call('HMGET', KEYS[3], 'shape', 'e' .. p, 't' .. p, 'n')
if not whole(held[1], shape, held[4]) then
    redis.call('HSET', KEYS[3], 'w' .. p, ARGV[4])
    if not held[1] then redis.call('EXPIRE', KEYS[3], 600) end
    announce()
    return 'absent'
end
local held_epoch, held_to = tonumber(held[2] or '0'), tonumber(held[3] or '0')
if epoch < held_epoch or to <= held_to then return 'stale' end
if from ~= held_to then
    redis.call('HSET', KEYS[3], 'w' .. p, ARGV[4])
    if redis.call('HSETNX', KEYS[3], 'g' .. p, '1') == 1 then redis.call('HINCRBY', KEYS[3], 'gaps', 1) end
    announce()
    return 'gap'
end
for start = 6, #ARGV, 1000 do
    local last = math.min(start + 999, #ARGV)
    local users = {}
    for i = start, last, 2 do users[#users + 1] = ARGV[i] end
    local keys = redis.call('HMGET', KEYS[2], unpack(users))
    local old, new, known, gone = {}, {}, {}, {}
    for n, user in ipairs(users) do
        local key = ARGV[start + 2 * n - 1]
        if keys[n] and keys[n] ~= key then old[#old + 1] = keys[n] .. user end
        if key == '' then
            if keys[n] then gone[#gone + 1] = user end
        elseif keys[n] ~= key then
            new[#new + 1] = '0'
            new[#new + 1] = key .. user
            known[#known + 1] = user
            known[#known + 1] = key
        end
    end
    if #old > 0 then redis.call('ZREM', KEYS[1], unpack(old)) end
    if #gone > 0 then redis.call('HDEL', KEYS[2], unpack(gone)) end
    if #new > 0 then
        redis.call('ZADD', KEYS[1], unpack(new))
        redis.call('HSET', KEYS[2], unpack(known))
    end
end
redis.call('HSET', KEYS[3], 'e' .. p, ARGV[2], 't' .. p, ARGV[4], 'n', redis.call('ZCARD', KEYS[1]))
if redis.call('HDEL', KEYS[3], 'g' .. p) == 1 then redis.call('HINCRBY', KEYS[3], 'gaps', -1) end
announce()
return 'done'
"""
)

# KEYS z u m, then the keys that were filled beside them; ARGV shape, then (partition, epoch, to) of the snapshot they were filled from.
SWAP = (
    ANNOUNCE
    + WHOLE
    + """
if redis.call('ZCARD', KEYS[4]) ~= tonumber(ARGV[2]) or redis.call('HLEN', KEYS[5]) ~= tonumber(ARGV[2]) then
    redis.call('UNLINK', KEYS[4], KEYS[5])
    return 'absent'
end
local missed, fields = {}, redis.call('HGETALL', KEYS[3])
local held = redis.call('HMGET', KEYS[3], 'shape', 'n')
if whole(held[1], ARGV[1], held[2]) then
    -- Every partition that the board holds counts, also one that had nothing yet when the snapshot was taken.
    local filled = {}
    for i = 3, #ARGV, 3 do filled[ARGV[i]] = tonumber(ARGV[i + 2]) end
    for i = 1, #fields, 2 do
        local p = string.match(fields[i], '^t(%d+)$')
        if p and tonumber(fields[i + 1]) > (filled[p] or 0) then
            redis.call('UNLINK', KEYS[4], KEYS[5])
            return 'newer'
        end
    end
end
-- What could not be applied, and, where the board is no longer whole, what had been.
for i = 1, #fields, 2 do
    local p = string.match(fields[i], '^[wt](%d+)$')
    if p then missed[p] = math.max(missed[p] or 0, tonumber(fields[i + 1])) end
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
if redis.call('EXISTS', KEYS[4]) == 1 then
    redis.call('RENAME', KEYS[4], KEYS[1])
    redis.call('RENAME', KEYS[5], KEYS[2])
    redis.call('PERSIST', KEYS[1])
    redis.call('PERSIST', KEYS[2])
end
redis.call('HSET', KEYS[3], 'shape', ARGV[1], 'n', redis.call('ZCARD', KEYS[1]))
for i = 3, #ARGV, 3 do
    redis.call('HSET', KEYS[3], 'e' .. ARGV[i], ARGV[i + 1], 't' .. ARGV[i], ARGV[i + 2])
    if missed[ARGV[i]] and missed[ARGV[i]] <= tonumber(ARGV[i + 2]) then missed[ARGV[i]] = nil end
end
for p, _ in pairs(missed) do redis.call('HSET', KEYS[3], 'g' .. p, '1') redis.call('HINCRBY', KEYS[3], 'gaps', 1) end
announce()
return 'done'
"""
)

USABLE = (
    WHOLE
    + """
local held = redis.call('HMGET', KEYS[3], 'shape', 'n', 'gaps')
if (held[3] and held[3] ~= '0') or not whole(held[1], ARGV[1], held[2]) then return false end
local total = tonumber(held[2])
"""
)

# The position up to which a partition has been published; none when the board has to be filled anew.
MARK = (
    WHOLE
    + """
local held = redis.call('HMGET', KEYS[3], 'shape', 'n', 't' .. ARGV[2])
if not whole(held[1], ARGV[1], held[2]) then return false end
return tonumber(held[3] or '0')
"""
)

PAGE = (
    USABLE
    + """
return {total, redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[3])}
"""
)

RANK = (
    USABLE
    + """
local key = redis.call('HGET', KEYS[2], ARGV[2])
if not key then return {total} end
return {total, redis.call('ZRANK', KEYS[1], key .. ARGV[2]), key}
"""
)

# Where each of several users stands: rank (-1 when not ranked) and order key of each, after the total.
RANKS = (
    USABLE
    + """
local found = {total}
for i = 2, #ARGV do
    local key = redis.call('HGET', KEYS[2], ARGV[i])
    found[#found + 1] = key and redis.call('ZRANK', KEYS[1], key .. ARGV[i]) or -1
    found[#found + 1] = key or ''
end
return found
"""
)

# The entries nearest to a user, as many before as after where the board's ends allow (the same rule as `standing.around_offset`).
AROUND = (
    USABLE
    + """
local key = redis.call('HGET', KEYS[2], ARGV[2])
if not key then return {total} end
local rank, limit = redis.call('ZRANK', KEYS[1], key .. ARGV[2]), tonumber(ARGV[3])
local first = math.max(0, math.min(rank - math.floor((limit - 1) / 2), total - limit))
return {total, rank, key, first, redis.call('ZRANGE', KEYS[1], first, first + limit - 1)}
"""
)

# For whoever compares: the marks of all partitions, and of each user the order key and the score of its member (empty: there is none).
HELD = (
    USABLE
    + """
local fields, marks, found = redis.call('HGETALL', KEYS[3]), {}, {}
for i = 1, #fields, 2 do
    local p = string.match(fields[i], '^t(%d+)$')
    if p then
        marks[#marks + 1] = tonumber(p)
        marks[#marks + 1] = tonumber(fields[i + 1])
    end
end
for i = 2, #ARGV do
    local key = redis.call('HGET', KEYS[2], ARGV[i]) or ''
    found[#found + 1] = key
    found[#found + 1] = key ~= '' and redis.call('ZSCORE', KEYS[1], key .. ARGV[i]) or ''
end
return {marks, found}
"""
)

# Keeps a claim for so many seconds more, or ends it (0), if it is still this holder's.
CLAIM = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
return redis.call('EXPIRE', KEYS[1], ARGV[2])
"""


class Script:
    """A script's text and the digest by which the server knows it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


publish, swap, page, rank, ranks, around = (Script(text) for text in (PUBLISH, SWAP, PAGE, RANK, RANKS, AROUND))
mark, held, claim = (Script(text) for text in (MARK, HELD, CLAIM))
EVERY = (publish, swap, page, rank, ranks, around, mark, held, claim)
