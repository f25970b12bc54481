"""What Redis does in one step for a fleet, in Lua, and the names of the keys.

All keys of a fleet have its name in braces, so that a cluster keeps them together.
"""

from typing import Final

READ: Final = """
local stream, cursor, size, given = KEYS[1], ARGV[1], 0, {}
for i = 1, ARGV[2] do
  local entry = redis.call('XRANGE', stream, '(' .. cursor, '+', 'COUNT', 1)[1]
  if not entry then return {0, given} end
  cursor = entry[1]
  local own = 0
  for _, word in ipairs(entry[2]) do own = own + #word end
  if own > tonumber(ARGV[3]) or #entry[2] > 100 then entry[2], own = {}, 0 end
  size = size + own
  if i > 1 and size > tonumber(ARGV[3]) then return {1, given} end
  given[i] = entry
end
return {1, given}
"""
"""Reads what follows a cursor, up to a number of entries and of bytes. An entry that is larger, or has more than 50
fields, cannot be by a node, and is returned without its fields. Returns whether there may be more, and the entries.

KEYS: the stream. ARGV: a cursor, the number, and the bytes.
"""

LOOK: Final = """
local stream, snapshot_at, wanted, roster = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now = redis.call('TIME')
local first, last, added, length, at_cursor, at_anchor = '', '0-0', 0, 0, 0, 0
if redis.call('EXISTS', stream) == 1 then
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1]
    elseif info[i] == 'entries-added' then added = info[i + 1]
    elseif info[i] == 'length' then length = info[i + 1]
    elseif info[i] == 'first-entry' and info[i + 1] then first = info[i + 1][1] end
  end
  at_cursor = #redis.call('XRANGE', stream, ARGV[1], ARGV[1])
  at_anchor = #redis.call('XRANGE', stream, ARGV[2], ARGV[2])
end
return {now[1], now[2], first, last, added, length, at_cursor, at_anchor,
  redis.call('GET', snapshot_at) or '', redis.call('EXISTS', wanted), redis.call('GET', roster) or '0'}
"""
"""Returns the time, and the state of the stream, of the snapshot and of the roster.

KEYS: the stream, the count of the snapshot, the request for one, the count of the roster. ARGV: a cursor, and the place
of an entry that was read earlier.
"""

ANNOUNCE: Final = """
local nodes, cards, marks, roster, changes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local changed = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', nodes, '-inf', ms)) do
  if name ~= ARGV[1] then
    redis.call('ZREM', nodes, name)
    redis.call('HDEL', cards, name)
    redis.call('HDEL', marks, name)
    table.insert(changed, name)
  end
end
local before = redis.call('HGET', cards, ARGV[1])
if before ~= ARGV[2] then
  redis.call('HSET', cards, ARGV[1], ARGV[2])
  table.insert(changed, ARGV[1])
end
redis.call('ZADD', nodes, ms + ARGV[3], ARGV[1])
redis.call('HSET', marks, ARGV[1], ARGV[4])
for _, name in ipairs(changed) do redis.call('ZADD', changes, redis.call('INCR', roster), name) end
if #changed > 0 then redis.call('ZREMRANGEBYRANK', changes, 0, -10001) end
return {before or '', redis.call('GET', roster) or '0'}
"""
"""Announces a node, and removes those whose announcements have expired. Returns the card before, and the count of the
roster.

KEYS: L{Keys.announced}. ARGV: the name, the card, the milliseconds until it expires, and how far the node has read.
"""

LEAVE: Final = """
if redis.call('HGET', KEYS[2], ARGV[1]) == ARGV[2] then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('HDEL', KEYS[3], ARGV[1])
  redis.call('ZADD', KEYS[5], redis.call('INCR', KEYS[4]), ARGV[1])
end
return 1
"""
"""Withdraws the announcement of a node, if the card is still its own. KEYS as for L{ANNOUNCE}; ARGV: the name and the
card.
"""

KEEP: Final = """
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[2])
redis.call('DEL', KEYS[3])
return 1
"""
"""Stores a snapshot unless another one was stored meanwhile.

KEYS: the snapshot, its count, the request for one. ARGV: the snapshot, how many entries had been added when it was
made, and the count that was found before.
"""


class Keys:
    """The names of the keys of a fleet.

    @ivar prefix: of all of them.
    @ivar stream: the entries.
    @ivar snapshot: the newest snapshot.
    @ivar snapshot_at: its count: how many entries had been added when it was made.
    @ivar wanted: exists while a node needs a snapshot.
    @ivar lock: held by the node that makes a snapshot.
    @ivar nodes: the names of the nodes, each scored by the time at which its announcement expires.
    @ivar cards: the cards of the nodes, by name.
    @ivar marks: how far each node has read, by name.
    @ivar roster: counts the changes of cards.
    @ivar changes: the names of the nodes, each scored by the count of the roster at its last change.
    """

    def __init__(self, fleet: str) -> None:
        prefix = f"{{{fleet}}}:"
        self.prefix: str = prefix
        self.stream: str = prefix + "stream"
        self.snapshot: str = prefix + "snapshot"
        self.snapshot_at: str = prefix + "snapshot:at"
        self.wanted: str = prefix + "snapshot:wanted"
        self.lock: str = prefix + "snapshot:lock"
        self.nodes: str = prefix + "nodes"
        self.cards: str = prefix + "cards"
        self.marks: str = prefix + "marks"
        self.roster: str = prefix + "roster"
        self.changes: str = prefix + "roster:changes"

    @property
    def looked_at(self) -> tuple[str, ...]:
        """For L{LOOK}."""
        return (self.stream, self.snapshot_at, self.wanted, self.roster)

    @property
    def announced(self) -> tuple[str, ...]:
        """For L{ANNOUNCE} and L{LEAVE}."""
        return (self.nodes, self.cards, self.marks, self.roster, self.changes)

    @property
    def kept(self) -> tuple[str, ...]:
        """For L{KEEP}."""
        return (self.snapshot, self.snapshot_at, self.wanted)
