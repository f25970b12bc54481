"""The commands ``htable.*``: hash tables, as Kamailio's htable module gives them."""

import re
import time
from typing import Any, Final

from jsonrpcs_tx.rpc.binding import MISSING, Text
from jsonrpcs_tx.rpc.errors import Error
from jsonrpcs_tx.rpc.faults import Fault, InvalidParams
from jsonrpcs_tx.rpc.registry import command
from jsonrpcs_tx.state.sharing import after
from jsonrpcs_tx.state.tables import Storage, StorageError, Table, Tables, Value

_NAME_EXPECTED: Final = Error(500, "No htable name given")
_GET_USAGE: Final = Error(500, "Not enough parameters (htable name and key name)")
_DELETE_USAGE: Final = Error(500, "Not enough parameters (htable name & key name")
_SET_USAGE: Final = Error(500, "Not enough parameters (htable name, key name and value)")
_SETEX_USAGE: Final = Error(500, "Not enough parameters (htable name, item name and expire)")
_SETX_USAGE: Final = Error(500, "Not enough parameters (htable name, key name, value and expire)")

_NO_TABLE: Final = "No such htable"
_SETX_NO_TABLE: Final = "Failed to set the item"
"""The text of setxs and setxi if there is no such table."""
_NO_DMQ: Final = "Not Available: tables are not replicated over SIP (dmq) here"
_SET: Final = "Ok. Key set to new value."
_STRING_FLAG: Final = 2
"""Kamailio's flag of a value that is a string."""


class Htable:
    """Times are in seconds; an integer has 64 bits, where Kamailio cuts it off at 32. What changes a table that servers
    share returns a Deferred.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @command(
        "htable.get",
        usage=_GET_USAGE,
        changes=False,
        secret=(),
        faults=[Fault(500, _NO_TABLE), Fault(500, "Key name doesn't exist in htable.")],
    )
    def get(self, table: str, key: str) -> dict[str, dict[str, Any]]:
        """Returns an item: its value, and when it expires."""
        found = self._find(table)
        item = found.find(key)
        if item is None:
            raise Fault(500, "Key name doesn't exist in htable.")
        return {
            "item": {
                "name": key,
                "value": item.value,
                "flags": _STRING_FLAG if isinstance(item.value, str) else 0,
                "expire": _time_text(found.expires_at(item)),
            }
        }

    @command("htable.sets", usage=_SET_USAGE, secret=(), faults=[Fault(500, _NO_TABLE)])
    def sets(self, table: str, key: str, value: Text) -> str:
        """Sets an item to a string."""
        return self._set(table, key, value)

    @command("htable.seti", usage=_SET_USAGE, secret=(), faults=[Fault(500, _NO_TABLE)])
    def seti(self, table: str, key: str, value: int) -> str:
        """Sets an item to an integer."""
        return self._set(table, key, value)

    @command("htable.setxs", usage=_SETX_USAGE, secret=(), faults=[Fault(500, _SETX_NO_TABLE)])
    def setxs(self, table: str, key: str, value: Text, expire: int) -> str:
        """Sets an item to a string that expires after a number of seconds."""
        return self._set(table, key, value, expire, _SETX_NO_TABLE)

    @command("htable.setxi", usage=_SETX_USAGE, secret=(), faults=[Fault(500, _SETX_NO_TABLE)])
    def setxi(self, table: str, key: str, value: int | str, expire: int) -> str:
        """Sets an item to an integer that expires after a number of seconds.

        Text that spells an integer counts as that integer, any other text as 0. Kamailio reads all text as 0.
        """
        if isinstance(value, str):
            value = int(value) if re.fullmatch(r"[+-]?[0-9]{1,19}", value) else 0
        return self._set(table, key, value, expire, _SETX_NO_TABLE)

    @command("htable.setex", usage=_SETEX_USAGE, secret=(), faults=[Fault(500, _NO_TABLE)])
    def setex(self, table: str, key: str, expire: int | str) -> str:
        """Sets the number of seconds after which an item expires, 0 for never; does nothing if there is no such item.

        Text is refused only if the item exists: for a missing one the answer is Ok, as in Kamailio.
        """
        found = self._find(table)
        if found.find(key) is not None:
            if isinstance(expire, str):
                raise InvalidParams
            try:
                return after(found.expire(key, expire), lambda _: "Ok")
            except ValueError as error:
                raise InvalidParams(str(error)) from None
        return "Ok"

    @command(
        "htable.delete",
        usage=_DELETE_USAGE,
        secret=(),
        faults=[Fault(500, _NO_TABLE), Fault(404, "Key not found in htable.")],
    )
    def delete(self, table: str, key: str) -> str:
        """Removes an item."""
        return after(self._find(table).delete(key), _deleted)

    @command("htable.flush", usage=_NAME_EXPECTED, faults=[Fault(500, _NO_TABLE)])
    def flush(self, table: str) -> str:
        """Removes all items of a table."""
        return after(self._find(table).flush(), lambda _: "Ok. Htable flushed.")

    @command("htable.dump", usage=_NAME_EXPECTED, changes=False, faults=[Fault(500, _NO_TABLE)])
    def dump(self, table: str) -> list[dict[str, Any]]:
        """Lists the items of a table by slot."""
        return [{"entry": slot, "size": len(items), "slot": items} for slot, items in self._find(table).slots().items()]

    @command("htable.listTables", changes=False)
    def list_tables(self) -> list[dict[str, Any]]:
        """Lists the tables with their definitions, the last one first."""
        kept = self._tables.storage is not None
        return [
            {
                "name": name,
                "dbtable": name if kept else "",
                "dbmode": int(kept),
                "expire": table.definition.autoexpire,
                "updateexpire": int(table.definition.updateexpire),
                "size": table.definition.slots,
                "dmqreplicate": 0,
            }
            for name, table in reversed(list(self._tables.items()))
        ]

    @command("htable.stats", changes=False)
    def stats(self) -> list[dict[str, Any]]:
        """Lists the tables: their slots, their items, and the items in the emptiest and in the fullest slot."""
        return [_statistics(table) for table in reversed(list(self._tables.values()))]

    @command("htable.dmqsync", faults=[Fault(500, _NO_DMQ)])
    def dmq_sync(self, table: str = "") -> None:
        """Is refused: tables are not replicated over SIP."""
        raise Fault(500, _NO_DMQ)

    @command("htable.dmqresync", faults=[Fault(500, _NO_DMQ)])
    def dmq_resync(self, table: str = "") -> None:
        """Is refused: tables are not replicated over SIP."""
        raise Fault(500, _NO_DMQ)

    @command(
        "htable.stored",
        usage=_NAME_EXPECTED,
        faults=[Fault(500, _NO_TABLE), Fault(500, "No htable db_url"), Fault(500, "Htable store failed")],
    )
    @command(
        "htable.store",
        usage=_NAME_EXPECTED,
        faults=[Fault(500, _NO_TABLE), Fault(500, "No htable db_url"), Fault(500, "Htable store failed")],
    )
    def store(self, table: str = MISSING) -> str:
        """Stores a table in the database, replacing what was stored of it before."""
        storage = self._storage()
        try:
            done = storage.store(self._find(table))
        except StorageError as error:
            raise Fault(500, f"Htable store failed: {error}") from None
        return "Ok. Htable successfully stored to DB." if done else "Ok. Htable is being stored to DB."

    @command(
        "htable.reload",
        usage=_NAME_EXPECTED,
        faults=[Fault(500, _NO_TABLE), Fault(500, "No htable db_url"), Fault(500, "Htable reload failed")],
    )
    def reload(self, table: str = MISSING) -> str:
        """Replaces the items of a table by those stored in the database."""
        storage = self._storage()
        try:
            done = storage.reload(self._find(table))
        except StorageError as error:
            raise Fault(500, f"Htable reload failed: {error}") from None
        return "Ok. Htable reloaded." if done else "Ok. Htable is being reloaded."

    def _storage(self) -> Storage:
        if self._tables.storage is None:
            raise Fault(500, "No htable db_url")
        return self._tables.storage

    def _find(self, name: str, missing: str = _NO_TABLE) -> Table:
        if name is MISSING:
            raise Fault(_NAME_EXPECTED.code, _NAME_EXPECTED.text)
        table = self._tables.get(name)
        if table is None:
            raise Fault(500, missing)
        return table

    def _set(self, name: str, key: str, value: Value, expire: int = 0, missing: str = _NO_TABLE) -> str:
        try:
            done = self._find(name, missing).set(key, value, expire)
        except ValueError as error:
            raise InvalidParams(str(error)) from None
        if done is None:  # the ordinary case
            return _SET
        return after(done, _set)


def _set(_: None) -> str:
    return _SET


def _deleted(found: bool) -> str:
    if not found:
        raise Fault(404, "Key not found in htable.")
    return "Ok. Key deleted."


def _statistics(table: Table) -> dict[str, Any]:
    counts = [len(items) for items in table.slots().values()]
    slots = table.definition.slots
    return {
        "name": table.definition.name,
        "slots": slots,
        "all": sum(counts),
        "min": min(counts) if len(counts) == slots else 0,
        "max": max(counts, default=0),
    }


def _time_text(seconds: float | None) -> str:
    """A time of day, local as in Kamailio."""
    if seconds is None:
        return "NEVER"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
