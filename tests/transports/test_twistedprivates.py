"""The private names of Twisted and pyOpenSSL that are used: they exist, they are all listed, and one may be missing."""

import ast
import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import fail
from twisted.internet.task import Clock

from jsonrpcs_tx.access.authentication import Authenticator
from jsonrpcs_tx.access.usersfile import UsersFile
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.rpc.dispatcher import Dispatcher
from jsonrpcs_tx.rpc.registry import Registry
from jsonrpcs_tx.state.counters import Counters
from jsonrpcs_tx.transports import tlsrecords, twistedprivates
from jsonrpcs_tx.transports.httpdirect import DirectSite
from jsonrpcs_tx.transports.httppaths import HttpPath, http_path
from jsonrpcs_tx.transports.httpsite import JsonRpcSite
from jsonrpcs_tx.transports.tlsdirect import DirectTlsTransport
from jsonrpcs_tx.transports.tlstransport import TlsTransport
from jsonrpcs_tx.web.httpresource import JsonRpcResource
from tests.support.httpmemory import users, users_path
from tests.support.modules import PACKAGE

TRANSPORTS = [path for wing in ("datagrams", "transports", "web") for path in sorted((PACKAGE / wing).glob("*.py"))]
USERS = [path for path in (*TRANSPORTS, PACKAGE / "watchdog.py") if path.stem != "twistedprivates"]
ALL = (*twistedprivates.ALL, tlsrecords.NAMES)
LISTED = {
    (class_name, attribute) for names in ALL for class_name, attributes in names.items() for attribute in attributes
}


def resource(checker: Any) -> JsonRpcResource:
    """A resource that asks a checker who clients are; None: it asks nobody."""
    dispatcher = Dispatcher(Registry(), Clock())
    authenticator = None if checker is None else Authenticator(checker, Clock(), Counters())
    return JsonRpcResource(dispatcher, [], [], 1, authenticator)


OPEN = resource(None)


class Anybody:
    """A program's own checker."""

    def requestAvatarId(self, credentials: Any) -> bytes:
        return b"somebody"


class Stricter(UsersFile):
    """A program's own checker, which asks for more than a file of users."""

    def __init__(self) -> None:
        super().__init__(users_path(), Clock())

    def requestAvatarId(self, credentials: Any) -> Any:
        return fail(UnauthorizedLogin("not today"))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def used_names(owner: type) -> set[str]:
    """The private names that a class defines, or that its own methods use."""
    names = set(vars(owner)) | set(vars(owner).get("__annotations__", ()))
    for member in vars(owner).values():
        function = member.fget if isinstance(member, property) else member
        if inspect.isfunction(function):
            names |= {*function.__code__.co_names, *function.__code__.co_freevars} - function.__globals__.keys()
    return {name for name in names if is_private(name)}


def of_twisted(owner: type) -> bool:
    return owner.__module__.startswith("twisted.")


def classes() -> Iterator[type]:
    """The classes of the transports that inherit from Twisted's."""
    for path in TRANSPORTS:
        module = importlib.import_module(f"jsonrpcs_tx.{path.parent.name}.{path.stem}".removesuffix(".__init__"))
        for _, owner in inspect.getmembers(module, inspect.isclass):
            if owner.__module__ == module.__name__ and any(map(of_twisted, owner.__mro__)):
                yield owner


def foreign_accesses(source: str) -> Iterator[str]:
    """The private attributes of other objects that a module uses, by name or with getattr."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "sys")):
                yield node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and is_private(str(name.value)):
                yield str(name.value)


@pytest.mark.parametrize("names", ALL)
def test_names_exist(names: twistedprivates.Names) -> None:
    """What is installed has each name that is listed."""
    assert list(twistedprivates.missing(names)) == []


@pytest.mark.parametrize("owner", list(classes()), ids=lambda owner: owner.__name__)
def test_inherited_names_are_listed(owner: type) -> None:
    """A class shares no private name with the classes of Twisted that it inherits from but those that are listed:
    neither one that it uses nor one that it took by chance.
    """
    inherited = set().union(*(used_names(base) for base in owner.__mro__ if of_twisted(base)))
    ours = set().union(*(used_names(base) for base in owner.__mro__ if base.__module__.startswith("jsonrpcs_tx.")))
    bases = {f"{base.__module__}.{base.__qualname__}" for base in owner.__mro__}
    listed = {attribute for class_name, attribute in LISTED if class_name in bases}
    assert inherited & ours <= listed


def test_other_names_are_listed() -> None:
    """No transport, nor the watchdog, uses a private name of another object but those that are listed."""
    for path in USERS:
        others = set(foreign_accesses(path.read_text())) - {attribute for _, attribute in LISTED}
        assert {name for name in others if f"def {name}(" not in path.read_text()} == set(), path.name


def test_every_listed_name_is_used() -> None:
    """No name stays listed that nothing uses any more."""
    sources = [path.read_text() for path in USERS]
    assert [name for _, name in LISTED if not any(name in source for source in sources)] == []


def test_missing_names() -> None:
    """A class or an attribute that the installed Twisted does not have is named."""
    names = {"twisted.web.http.HTTPChannel": ("_handlingRequest", "_gone"), "twisted.web.http._Gone": ("_x",)}
    absent = ["twisted.web.http.HTTPChannel._gone", "twisted.web.http._Gone"]
    assert list(twistedprivates.missing(names)) == absent
    assert not twistedprivates.available(names)
    with pytest.raises(StartError, match=r"http_listen: Twisted .*\.HTTPChannel\._gone, twisted\.web\.http\._Gone"):
        twistedprivates.require("http_listen", names)


def test_paths() -> None:
    """The direct classes are taken where the setting says so; those for HTTP also with a file of users, but not where
    another checker has to be asked.
    """
    assert http_path(fast=True, resource=OPEN) == HttpPath(DirectSite, DirectTlsTransport, True)
    assert http_path(fast=True, resource=resource(users(Clock()))) == HttpPath(DirectSite, DirectTlsTransport, True)
    assert http_path(fast=True, resource=resource(Anybody())) == HttpPath(JsonRpcSite, DirectTlsTransport, True)
    assert http_path(fast=True, resource=resource(Stricter())) == HttpPath(JsonRpcSite, DirectTlsTransport, True)
    assert http_path(fast=False, resource=OPEN) == HttpPath(JsonRpcSite, TlsTransport, False)


def test_general_path_as_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Twisted lacks a name that only a direct path needs, the general one is taken."""
    monkeypatch.setattr("jsonrpcs_tx.transports.httppaths.TLS_DIRECT", {"twisted.web.http._Gone": ("_x",)})
    assert http_path(fast=True, resource=OPEN) == HttpPath(DirectSite, TlsTransport, True)
    monkeypatch.setattr("jsonrpcs_tx.transports.httppaths.HTTP_DIRECT", {"twisted.web.http._Gone": ("_x",)})
    assert http_path(fast=True, resource=OPEN) == HttpPath(JsonRpcSite, TlsTransport, True)


def test_no_http_without_its_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Twisted lacks a name that every path needs, nothing listens for HTTP."""
    monkeypatch.setattr("jsonrpcs_tx.transports.httppaths.HTTP", {"twisted.web.http._Gone": ("_x",)})
    with pytest.raises(StartError, match="http_listen: "):
        http_path(fast=False, resource=OPEN)
