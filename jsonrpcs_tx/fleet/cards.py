"""What a node tells the others of itself: its card."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from jsonrpcs_tx.fleet.entries import Forged, Seals, UnknownVersion
from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

MAX_CARDS: Final = 10_000
"""Checked cards that are remembered."""


class Card(msgspec.Struct, frozen=True):
    """A node.

    @ivar name: its name.
    @ivar run: identifies this run of it.
    @ivar address: where the others call it, see L{jsonrpcs_tx.client.targets}; empty: they cannot.
    @ivar groups: the groups that it is in.
    @ivar version: of jsonrpcs_tx.
    @ivar started: in seconds since 1970.
    @ivar shares: the names of what it shares.
    """

    name: str
    run: str
    address: str
    groups: list[str]
    version: str
    started: int
    shares: list[str]


@lru_cache(MAX_CARDS)
def _read(seals: Seals, data: bytes) -> Card:
    """@raise Forged, UnknownVersion, MsgspecError: it is not a card."""
    return msgspec.json.decode(seals.unwrap("card", data), type=Card)


def write_card(card: Card, seals: Seals) -> bytes:
    """A card, signed."""
    return seals.wrap("card", msgspec.json.encode(card))


def read_cards(reply: Any, seals: Seals) -> Mapping[str, Card]:
    """The cards of the nodes by name.

    @param reply: names and cards in turn, as HGETALL gives them. Cards that are not signed, or are of another name,
        are left out, and logged.
    """
    found: dict[str, Card] = {}
    for name, data in sorted(zip(reply[::2], reply[1::2], strict=True)):
        try:
            card = _read(seals, data)
            if card.name.encode() != name:
                raise Forged(f"it is the card of {card.name!r:.60}")
        except (Forged, UnknownVersion, msgspec.MsgspecError) as error:
            _log.warn("fleet: the card of {name!r:.60} is ignored: {reason}", name=name, reason=error)
        else:
            found[card.name] = card
    return found
