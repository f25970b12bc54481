"""Roles: predefined sets of methods for rules, by what the methods do."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from jsonrpcs_tx.catalogue import CHANGE, DANGER, READ, find

UNKNOWN: Final = "unknown"
"""The effect of a method about which nothing is known."""

ROLES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "read": frozenset((READ,)),
        "operate": frozenset((READ, CHANGE)),
        "admin": frozenset((READ, CHANGE, DANGER, UNKNOWN)),
    }
)
"""The effects of the methods that each role allows; the role with the fewest rights first."""


FOR_ADMIN: Final = frozenset(("gateway.add", "gateway.remove"))
"""Own commands that change what rules mean: adding a node decides where calls go, and which groups it is in."""


def catalogued_effect(method: str) -> str:
    """The effect of a method of Kamailio's, as the catalogue has it, or L{UNKNOWN}."""
    entry = find(method)
    return UNKNOWN if entry is None else entry.effect
