"""What the user that a root process becomes must be able to do with the files that the settings name."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import attrs

from jsonrpcs_tx.config.settings import DATAGRAM, FIFO, HTTP, Settings, StrPath
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.files.owners import User


def owned_by(settings: Settings, user: User) -> Settings:
    """The settings with a user and its group as the owners of what the server makes, where they name no others."""
    owners: dict[str, Any] = {
        f"{prefix}_{kind}": number
        for prefix in ("fifo", "dgram", "http")
        for kind, number in (("user", user.uid), ("group", user.gid))
        if getattr(settings, f"{prefix}_{kind}") == ""
    }
    return attrs.evolve(settings, **owners)


def obstacles(settings: Settings, user: User) -> Iterator[StartError]:
    """What keeps a user from running a server with these settings. Files that the server makes are not examined before
    they exist, see L{User.obstacle_to_removal}, and missing ones are no obstacle here.
    """
    read = "a file that this user can read, since it is read again"
    for name, path in _read_again(settings):
        yield from _obstacle(user, name, settings.path(path), os.R_OK, read)
    if settings.enables(FIFO) and settings.fifo_name:
        allowed = "a directory that this user can enter, since replies are written to FIFOs in it"
        yield from _obstacle(user, "fifo_reply_dir", settings.path(settings.fifo_reply_dir), os.X_OK, allowed)
    if settings.enables(DATAGRAM) and settings.dgram_socket and settings.dgram_workers > 1:
        allowed = "1, or a Python that this user can run"
        yield from _obstacle(user, "dgram_workers", sys.executable, os.R_OK | os.X_OK, allowed)
    if settings.store_path:
        path = settings.path(settings.store_path)
        allowed = "a directory in which this user can make files"
        yield from _obstacle(user, "store_path", path, os.R_OK | os.W_OK | os.X_OK, allowed)
    if settings.htable_db:
        path = os.path.realpath(settings.path(settings.htable_db))
        allowed = "a file that this user can write, in a directory in which this user can make others beside it"
        yield from _obstacle(user, "htable_db", os.path.dirname(path), os.W_OK | os.X_OK, allowed)
        yield from _obstacle(user, "htable_db", path, os.R_OK | os.W_OK, allowed)


def _read_again(settings: Settings) -> Iterator[tuple[str, StrPath]]:
    """The files that are read again while the server runs, each with its setting."""
    names = ["http_users", "rule_file", "list_file", "node_file"]
    if settings.certificate and settings.https_listen and settings.enables(HTTP):
        yield ("tls_certificate" if settings.tls_certificate else "tls_self_signed"), settings.certificate
        names += ["tls_private_key", "tls_ca"]
    yield from ((name, getattr(settings, name)) for name in names if getattr(settings, name))


def _obstacle(user: User, setting: str, path: str, mode: int, allowed: str) -> Iterator[StartError]:
    reason = user.obstacle(path, mode)
    if reason is not None:
        yield StartError(setting, os.path.abspath(path), reason, allowed)
