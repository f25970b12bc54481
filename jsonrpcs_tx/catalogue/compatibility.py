"""Where the versions of Kamailio that this server can answer like differ: the setting C{compatibility}."""

from typing import Final

import attrs


@attrs.frozen(kw_only=True)
class Compatibility:
    """A version of Kamailio, and all that it does differently from the others.

    @ivar version: as the setting C{compatibility} names it.
    @ivar elements_on_lines: with C{pretty_format} 1 each element of an array is on a line of its own; else all are on
        one.
    @ivar destination_details: C{dispatcher.list} gives places and identifiers, how many probes failed, and overload
        control; there is C{dispatcher.oclist}.
    @ivar flags_without_probing: while no destination is probed (C{ds_ping_interval} 0), the flag 8 (probing) of one
        that is loaded or added is ignored.
    @ivar help_as_record: C{cfg.help} gives a record of description and type; else one text.
    @ivar socket_families: C{core.sockets_list} and C{corex.list_sockets} give the address family of sockets and the
        name of their group, and the latter's members have names in lower case.
    """

    version: str
    elements_on_lines: bool
    destination_details: bool
    flags_without_probing: bool
    help_as_record: bool
    socket_families: bool


V5_6: Final = Compatibility(
    version="5.6",
    elements_on_lines=False,
    destination_details=False,
    flags_without_probing=False,
    help_as_record=False,
    socket_families=False,
)
V6_1: Final = Compatibility(
    version="6.1",
    elements_on_lines=True,
    destination_details=True,
    flags_without_probing=True,
    help_as_record=True,
    socket_families=True,
)

COMPATIBILITIES: Final = {one.version: one for one in (V6_1, V5_6)}
"""By version; the first is the default."""
