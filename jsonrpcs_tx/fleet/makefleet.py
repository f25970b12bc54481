"""Makes the node of a fleet from the settings."""

import os
import socket
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.errors import NotAllowed, SettingError, StartError
from jsonrpcs_tx.fleet.fleet import Fleet
from jsonrpcs_tx.gateway.definitions import check_name, read_definition
from jsonrpcs_tx.problems import Problems
from jsonrpcs_tx.redis.locations import RedisLocation
from jsonrpcs_tx.secretfiles import read_secret
from jsonrpcs_tx.state.sharing import Shareable

MIN_SECRET: Final = 16
"""Characters of the shortest secret."""


def make_fleet(
    settings: Settings,
    single: Mapping[str, Shareable],
    tables: Mapping[str, Shareable],
    groups: Mapping[str, Shareable],
    reactor: Any,
) -> Fleet:
    """Make the node that the settings describe.

    @param single: what can be shared apart from tables and groups, by its name in C{fleet_share}.
    @param tables: the hash tables, by name.
    @param groups: the groups of variables, by name.
    @param reactor: the reactor to use.
    @return: the node. It looks for what is shared when it starts, since programs may add tables and groups until then.
    @raise SettingError: a setting is not allowed, or a file that it names cannot be used.
    """

    def absolute(path: str) -> str:
        return os.path.abspath(settings.path(path))

    try:
        location = RedisLocation.parse(settings.fleet, absolute)
    except NotAllowed as error:
        raise _setting_error("fleet", settings.fleet, error) from None
    node = settings.fleet_node or socket.gethostname()
    try:
        check_name(node, "fleet_node")
    except NotAllowed as error:
        raise SettingError("fleet_node", node, error.allowed) from None
    if settings.fleet_address:
        text = " ".join((f"{node}={settings.fleet_address}", *(f"group={one}" for one in settings.fleet_groups)))
        try:
            read_definition(text, None)
        except NotAllowed as error:
            raise _setting_error("fleet_address", settings.fleet_address, error) from None
    return Fleet(
        location,
        settings.fleet_name or "fleet",
        node,
        _secret(settings, absolute),
        partial(_things, settings, single, tables, groups),
        settings.fleet_offline,
        settings.fleet_timeout,
        settings.fleet_address,
        list(settings.fleet_groups),
        reactor,
    )


def _setting_error(name: str, value: str, error: NotAllowed) -> SettingError:
    return SettingError(name, value, f"{error.allowed} ({error.reason})")


def _secret(settings: Settings, absolute: Any) -> bytes:
    name = str(settings.fleet_secret)
    allowed = f"a file with a secret of {MIN_SECRET} characters or more in its first line, for no other user to read"
    if not name:
        raise SettingError("fleet_secret", name, allowed)
    try:
        secret = read_secret(absolute(name), "fleet_secret", "secret")
    except NotAllowed as error:
        raise _setting_error("fleet_secret", name, error) from None
    if len(secret) < MIN_SECRET:
        raise SettingError("fleet_secret", name, allowed)
    return secret.encode(errors="surrogateescape")


def _things(
    settings: Settings,
    single: Mapping[str, Shareable],
    tables: Mapping[str, Shareable],
    groups: Mapping[str, Shareable],
    problems: Problems,
) -> dict[str, Shareable]:
    """What is shared, by name.

    @param problems: takes the tables and groups that do not exist.
    """
    found: dict[str, Shareable] = {}
    for name in (*settings.fleet_share, "wanted"):  # a node that makes snapshots must have all
        kind, _, of = name.partition(":")
        there = {"htable": tables, "cfg": groups}.get(kind)
        if there is None:
            found[name] = single[name]
        elif of in there:
            found[name] = there[of]
        else:
            known = ", ".join(f"{kind}:{one}" for one in there) or "dispatcher and shv, since there are no others"
            problems.note(StartError("fleet_share", name, "there is nothing of that name", known))
    return found
