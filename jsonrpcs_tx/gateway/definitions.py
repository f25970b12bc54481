"""Reads the definition of a node in settings, files and calls: its name, its target, and its options."""

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import attrs

from jsonrpcs_tx.catalogue import nearest
from jsonrpcs_tx.client.targets import Target, TargetError, parse_target
from jsonrpcs_tx.errors import NotAllowed
from jsonrpcs_tx.gateway.queries import MAX_SECONDS, read_seconds
from jsonrpcs_tx.secretfiles import read_secret

ALLOWED: Final = "NAME=TARGET with options, such as edge1=udp:10.0.0.7:8090 group=edge timeout=2; see docs/gateway.md"
"""The syntax of a node, for messages."""

MAX_NAME: Final = 64
"""Characters of the name of a node or a group."""

MAX_NODES: Final = 10_000
"""Nodes that there may be, from settings, calls and the fleet together."""

_COMMENT: Final = "a comment on a line of its own"

_NAME: Final = re.compile(r"[!-~]+")
_SHOWN: Final = re.compile(r"(?!.*//)[^:@\s]{1,100}")
_NOT_IN_NAMES: Final = frozenset("/?#*=,")
_OF_TARGET: Final = ("user", "tls_ca", "tls_certificate", "tls_private_key", "reply_dir")
_FILES: Final = ("password_file", "tls_ca", "tls_certificate", "tls_private_key", "reply_dir")
_OPTIONS: Final = ("group", "timeout", "cache", "password_file", *_OF_TARGET)


@attrs.frozen
class Definition:
    """The definition of a node.

    @ivar name: its name.
    @ivar target: where it is, with the password.
    @ivar groups: the groups that it is in.
    @ivar timeout: seconds that a call of it may take; None: as long as any asynchronous command.
    @ivar cache: seconds for which the results of reads are cached; 0: they are not.
    @ivar files: device, inode, size and modification time of each file that it names, to see when one is replaced.
    """

    name: str
    target: Target
    groups: tuple[str, ...] = ()
    timeout: float | None = None
    cache: float = 0.0
    files: tuple[tuple[int, ...], ...] = ()


def read_definition(text: str, path: Callable[[str], str] | None) -> Definition:
    """Read a node, such as C{edge1=unix:/run/kamailio/kamailio_rpc.sock group=edge timeout=2}.

    @param path: makes a relative path absolute. None: the text comes from a caller, who may not name files or give a
        password.
    @raise NotAllowed: it is not a node, or a file that it names cannot be used. The message shows no password.
    """
    words = text.split()
    name, equals, where = words[0].partition("=") if words else ("", "", "")
    if not equals:
        raise NotAllowed("there is no = after a name", ALLOWED)
    check_name(name)
    options = _options(words[1:], where)
    if path is None:
        for option in ("user", *_FILES):
            if option in options:
                raise NotAllowed(f"{option}: a call cannot give it", f"{option} in the setting node or in node_file")
    try:
        return _definition(name, where, options, path)
    except TargetError as error:
        raise NotAllowed(f"target {error.text!r:.200}: {error.reason}", error.allowed) from None


def check_name(name: str, of: str = "name") -> None:
    """
    @param of: what it is, for the message.
    @raise NotAllowed: it is not a name for a node or a group.
    """
    allowed = f"up to {MAX_NAME} printable ASCII characters, without blanks and / ? # * = ,"
    if len(name) > MAX_NAME or not _NAME.fullmatch(name) or not _NOT_IN_NAMES.isdisjoint(name) or name in (".", ".."):
        shown = f" {name}" if _SHOWN.fullmatch(name) else ""  # else it may be the beginning of a URL with a password
        raise NotAllowed(f"the {of}{shown} is not allowed", allowed)


class Names:
    """The names of nodes and groups, each of which must be unique."""

    def __init__(self, definitions: Collection[Definition] = ()) -> None:
        self._nodes = {one.name for one in definitions}
        self._groups = {group for one in definitions for group in one.groups}

    def take(self, definition: Definition) -> None:
        """Add the names of one more node.

        @raise NotAllowed: one is already taken, or there are L{MAX_NODES} nodes.
        """
        if len(self._nodes) >= MAX_NODES:
            raise NotAllowed(f"there are already {len(self._nodes)} nodes", f"up to {MAX_NODES} nodes")
        if definition.name in self._nodes:
            raise NotAllowed(f"there is already a node {definition.name}", "another name")
        if definition.name in self._groups:
            raise NotAllowed(f"there is already a group {definition.name}", "another name")
        for group in definition.groups:
            if group in self._nodes or group == definition.name:
                raise NotAllowed(f"the group {group} has the name of a node", "another name")
        self._nodes.add(definition.name)
        self._groups.update(definition.groups)


def _definition(
    name: str, where: str, options: Mapping[str, Sequence[str]], path: Callable[[str], str] | None
) -> Definition:
    given = {option: values[-1] for option, values in options.items()}
    if "//" in where and "@" not in where and ("user" in given) != ("password_file" in given):
        there, missing = ("user", "password_file") if "user" in given else ("password_file", "user")
        raise NotAllowed(f"{there}: there is no {missing}", "user= and password_file=, both or neither")
    files: dict[str, str] = {}
    if path is not None:
        files = {option: path(given[option]) for option in _FILES if option in given}
    password = read_secret(files["password_file"], "password_file") if "password_file" in files else None
    of_target = {option: files.get(option) or given.get(option) for option in _OF_TARGET}
    target = parse_target(where, password=password, **of_target)
    if path is None and any(one.password is not None or one.user is not None for one in target.each):
        raise NotAllowed("a call cannot give a user and a password", "user and password_file in the node_file")
    groups = tuple(dict.fromkeys(options.get("group", ())))
    for group in groups:
        check_name(group, "group")
    _check_tls(target)
    identities = tuple(_identity(file) for option, file in files.items() if option != "reply_dir")
    timeout, cache = (_seconds(option, given.get(option)) for option in ("timeout", "cache"))
    return Definition(name, target, groups, timeout, cache or 0.0, identities)


def _options(words: Sequence[str], where: str) -> dict[str, list[str]]:
    """@raise NotAllowed: a word is no option, has no value, or is given twice."""
    found: dict[str, list[str]] = {}
    for place, word in enumerate(words, 2):
        if word.startswith("#"):
            raise NotAllowed("there is a # behind the node", _COMMENT)
        option, equals, value = word.partition("=")
        if option not in _OPTIONS or not equals or not value:
            may_be_secret = "//" in where and not (equals and option.isidentifier())  # a password may have blanks
            shown = f"word {place}" if may_be_secret else f"{option if equals else word:.40}"
            near = [] if may_be_secret or option in _OPTIONS else nearest(option, _OPTIONS, 1)
            meant = f"; did you mean {near[0]}=?" if near else ""
            reason = "no value" if option in _OPTIONS else "no such option"
            raise NotAllowed(f"{shown}: {reason}{meant}", f"{'=, '.join(_OPTIONS)}=")
        if option in found and option != "group":
            raise NotAllowed(f"{option}: it is given twice", "one value; group= may be given more than once")
        found.setdefault(option, []).append(value)
    return found


def _seconds(option: str, value: str | None) -> float | None:
    """@raise NotAllowed: it is not a number of seconds."""
    if value is None:
        return None
    seconds = read_seconds(value)
    if seconds is None:
        raise NotAllowed(f"{option}: {value:.40}", f"a number of seconds above 0, up to {MAX_SECONDS}")
    return seconds


def _check_tls(target: Target) -> None:
    """@raise NotAllowed: a file for TLS cannot be used."""
    for one in target.each:
        if one.scheme == "https":
            from jsonrpcs_tx.client import deferredtls  # only HTTPS needs OpenSSL

            try:
                deferredtls.options(one)
            except OSError as error:
                raise NotAllowed(str(error), "files with certificates and keys in PEM") from None


def _identity(path: str) -> tuple[int, ...]:
    """Values that change when a file is written or replaced."""
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
