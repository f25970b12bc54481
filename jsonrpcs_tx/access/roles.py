"""Roles: ready sets of methods for rules, by what the methods do."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from jsonrpcs_tx.catalogue import CHANGE, DANGER, READ, find

UNKNOWN: Final = "unknown"
"""The effect of a method of which nothing is known."""

ROLES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "read": frozenset((READ,)),
        "operate": frozenset((READ, CHANGE)),
        "admin": frozenset((READ, CHANGE, DANGER, UNKNOWN)),
    }
)
"""The effects of the methods that each role allows, the least first."""


FOR_ADMIN: Final = frozenset(("gateway.add", "gateway.remove"))
"""Own commands that change what rules mean: who adds a node says where it is, and which of its groups rules name."""


def catalogued_effect(method: str) -> str:
    """What a method of Kamailio's does, as the catalogue has it: one of its effects, or L{UNKNOWN}."""
    entry = find(method)
    return UNKNOWN if entry is None else entry.effect
