"""The commands ``dispatcher.*``: sets of destinations, as Kamailio's dispatcher module gives them."""

import re
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

from jsonrpcs_tx.catalogue.compatibility import Compatibility
from jsonrpcs_tx.commands.destinationview import DestinationView, overload_of
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.rpc.binding import MISSING, Text
from jsonrpcs_tx.rpc.errors import Error
from jsonrpcs_tx.rpc.faults import Fault, InvalidParams
from jsonrpcs_tx.rpc.registry import command
from jsonrpcs_tx.state.destinations import (
    Attributes,
    Destination,
    DestinationError,
    DestinationSets,
    hash_keys,
    parse_state,
)
from jsonrpcs_tx.state.sharing import after

_STATE_FAULTS: Final = (Error(500, "Invalid State Parameter"), Error(500, "Unknown State Value"))
_ONGOING: Final = Error(500, "Ongoing reload")


class DispatcherCommands:
    """Destinations are named by their set and their URI. What changes them returns a Deferred if servers share them."""

    def __init__(
        self,
        sets: DestinationSets,
        settings: Settings,
        clock: IReactorTime,
        compatibility: Compatibility,
        started: float,
    ) -> None:
        self._sets = sets
        self._settings = settings
        self._clock = clock
        latency = bool(settings.ds_ping_latency_stats)
        self._view = DestinationView(compatibility.destination_details, latency, started)
        self._reloaded = 0

    @command("dispatcher.list", changes=False)
    def list_sets(self, how: str = "") -> dict[str, Any]:
        """Lists the sets with their destinations; short without attributes, full with addresses."""
        member = self._view.member
        sets = [
            {"SET": {"ID": id, "TARGETS": [member(id, place, one, how) for place, one in enumerate(found)]}}
            for id, found in self._sets.items()
        ]
        return {"NRSETS": len(sets), "RECORDS": sets}

    @command("dispatcher.oclist", changes=False, faults=[Fault(404, "Destination Group Not Found")])
    def list_overload(self, group: int) -> list[dict[str, Any]]:
        """Lists the overload control of the destinations of a set, according to their attributes."""
        if group not in self._sets:
            raise Fault(404, "Destination Group Not Found")
        return [
            {
                "group": group,
                "uri": one.uri,
                "flags": one.state,
                "priority": one.priority,
                "ocrate": overload_of(one).ocrate,
                "ocidx": 0,
                "ocseq": 0,
                "octime_sec": 0,
                "octime_usec": 0,
                "ocmin": overload_of(one).ocmin,
                "ocmax": overload_of(one).ocmax,
            }
            for one in self._sets[group]
        ]

    @command("dispatcher.set_state", faults=[*_STATE_FAULTS, Fault(500, "State Update Failed")])
    def set_state(self, state: Text, group: int, address: str) -> str:
        """Sets the state of a destination, or of all of a set: i, a, d or t, then p for probing."""
        everything = address == "all"
        return self._set_state(state, group, lambda one: everything or one.uri == address, everything)

    @command("dispatcher.set_duid_state", faults=[*_STATE_FAULTS])
    def set_duid_state(self, state: Text, group: int, duid: str) -> str:
        """Sets the state of the destinations of a set that have an identifier, the attribute duid."""
        return self._set_state(state, group, lambda one: one.attributes is not None and one.attributes.duid == duid)

    @command("dispatcher.reload", faults=[Fault(500, "Reload Failed"), _ONGOING])
    def reload(self) -> str:
        """Reads the list of destinations again; if a line is invalid, nothing is changed."""
        settings = self._settings
        if not settings.list_file:
            raise Fault(500, "Reload Failed: the setting list_file is empty")
        self._count_reload()
        try:
            loaded = self._sets.load(settings.path(settings.list_file))
        except DestinationError as error:
            raise Fault(500, f"Reload Failed: {error}") from None
        return after(loaded, lambda _: "Ok. Dispatcher successfully reloaded.")

    @command("dispatcher.add", faults=[Fault(500, "Adding dispatcher dst failed"), _ONGOING])
    def add(
        self, group: int | str, address: str, flags: int | str = 0, priority: int | str = 0, attributes: str = ""
    ) -> str:
        """Adds a destination to a set, with flags, priority and attributes."""
        # Kamailio reads text as the priority 0; kamcli sends numbers as text.
        if isinstance(priority, str) and not priority.isdigit():
            priority = 0
        try:
            parsed = Attributes.parse(attributes) if attributes else None
            destination = Destination(address, _number(flags), _number(priority), parsed)
        except DestinationError as error:
            raise Fault(500, f"Adding dispatcher dst failed: {error}") from None
        self._count_reload()
        added = self._sets.add(_number(group), destination)
        return after(added, lambda _: "Ok. Dispatcher destination added.")

    @command("dispatcher.remove", faults=[_ONGOING])
    def remove(self, group: int | str, address: str) -> str:
        """Removes a destination from a set, if it is there."""
        self._count_reload()
        removed = self._sets.remove(_number(group), address)
        return after(removed, lambda _: "Ok. Dispatcher destination removed.")

    @command("dispatcher.hash", changes=False, secret=())
    def hash(self, slots: int, key: str, other: str = "") -> dict[str, int]:
        """Returns the hash of one or two strings, and which of a number of slots it selects."""
        hashed = hash_keys(*filter(None, (key, other))) if key or other else hash_keys("")
        return {"hashid": hashed, "slot": hashed % slots if slots > 0 else 0}

    @command("dispatcher.ping_active")
    def ping_active(self, state: int = MISSING) -> dict[str, int]:
        """Returns whether destinations are probed, 1 or 0, or sets it."""
        old = self._sets.pinging
        if state is MISSING or state < 0:
            return {"OldPingState": old}
        self._sets.pinging = state
        return {"NewPingState": state, "OldPingState": old}

    def _set_state(self, state: str, group: int, matches: Any, missing_is_fine: bool = False) -> str:
        if not state:
            raise Fault(500, _STATE_FAULTS[0].text)
        try:
            parse_state(state)
        except DestinationError:
            raise Fault(500, _STATE_FAULTS[1].text) from None

        def updated(any_found: bool) -> str:
            if not any_found and not missing_is_fine:
                raise Fault(500, "State Update Failed")
            return "Ok. Dispatcher state updated."

        return after(self._sets.set_state(state, group, matches), updated)

    def _count_reload(self) -> None:
        """Counts whole seconds, as in Kamailio, and for all three commands together."""
        now = int(self._clock.seconds())
        if self._reloaded and 0 <= now - self._reloaded < self._settings.reload_delta:
            raise Fault(_ONGOING.code, _ONGOING.text)
        self._reloaded = now


def _number(value: int | str) -> int:
    """A number of 32 bits, or text that spells one: some clients send all parameters as text, or empty text for 0."""
    if isinstance(value, str):
        if value and not re.fullmatch("-?[0-9]{1,10}", value):
            raise InvalidParams
        value = int(value or 0)
    if not -(2**31) <= value < 2**31:
        raise InvalidParams
    return value
