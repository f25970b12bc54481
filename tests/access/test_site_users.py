"""Users that the site has authenticated itself, in which the resource is mounted, for rules with C{user=}."""

import base64
import json
from typing import Any

import pytest
from twisted.cred.checkers import ANONYMOUS, AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.guard import BasicCredentialFactory, HTTPAuthSessionWrapper
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site
from zope.interface import implementer

from jsonrpcs_tx import Call, Settings, command, makeService
from jsonrpcs_tx.errors import SettingError
from jsonrpcs_tx.service import JsonRpcService

RULES = ("http user=ann allow shop.*", "http user=bob allow shop.who")


@command("shop.who")
def who(call: Call) -> str | None:
    """Returns who calls."""
    return call.user


@command("shop.close")
def close() -> bool:
    """Closes the shop."""
    return True


def service(*rules: str, **options: Any) -> JsonRpcService:
    options = {"site_authenticates": True, **options}
    return makeService(Settings(rule=rules), Clock(), [who, close], **options)


@implementer(IRealm)
class Realm:
    """Gives each user the resource that knows who it is."""

    def __init__(self, server: JsonRpcService) -> None:
        self.resource = server.jsonrpc_dispatch

    def requestAvatar(self, avatarId: bytes | tuple[()], mind: object, *interfaces: object) -> tuple[Any, Any, Any]:
        assert IResource in interfaces
        return IResource, self.resource.for_user(avatarId), lambda: None


def guarded(server: JsonRpcService) -> Site:
    """A site with its own users, as any of twisted.web's."""
    users = InMemoryUsernamePasswordDatabaseDontUse(ann=b"sesame", bob=b"sesame")
    portal = Portal(Realm(server), [users, AllowAnonymousAccess()])
    root = Resource()
    root.putChild(b"RPC", HTTPAuthSessionWrapper(portal, [BasicCredentialFactory(b"shop")]))
    return Site(root, parsePOSTFormSubmission=False, timeout=None)


def ask(site: Site, method: str, user: str = "", path: str = "/RPC") -> tuple[int, Any]:
    """One request in memory: the status, and the result or the code of the fault."""
    transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 40_000))
    channel = site.buildProtocol(transport.getPeer())
    assert channel is not None
    channel.makeConnection(transport)
    document = json.dumps({"jsonrpc": "2.0", "method": method, "id": 1}).encode()
    name = base64.b64encode(f"{user}:sesame".encode()).decode()
    login = f"Authorization: Basic {name}\r\n" if user else ""
    channel.dataReceived(
        f"POST {path} HTTP/1.0\r\nHost: localhost\r\n{login}Content-Length: {len(document)}\r\n\r\n".encode() + document
    )
    head, _, body = transport.value().partition(b"\r\n\r\n")
    status = int(head.split()[1])
    if b"application/json" not in head:
        return status, None
    reply = json.loads(body)
    return status, reply["result"] if "result" in reply else reply["error"]["code"]


def test_portal() -> None:
    """The user of a site's own portal is the one in rules, and the one that commands learn of."""
    site = guarded(service(*RULES))
    assert ask(site, "shop.who", "ann") == (200, "ann")
    assert ask(site, "shop.close", "ann", "/RPC/below") == (200, True)
    assert ask(site, "shop.who", "bob") == (200, "bob")
    assert ask(site, "shop.close", "bob") == (403, 403)
    assert ask(site, "shop.who") == (403, 403)
    assert ask(site, "shop.who", "eve") == (401, None)


def test_handler() -> None:
    """A handler of the site says by itself who calls, without twisted.cred; nobody is nobody. Commands find what it
    gives with the user.
    """

    @command("shop.session")
    def session(call: Call) -> Any:
        return call.context

    server = service()
    server.registry.add(session)

    class Handler(Resource):
        isLeaf = True

        def render(self, request: Any) -> int:
            user = request.getUser() or None
            result = server.jsonrpc_dispatch.for_user(user, {"session": 7}).render(request)
            assert isinstance(result, int)
            return result

    site = Site(Handler(), timeout=None)
    assert ask(site, "shop.who", "zo\u00eb") == (200, "zo\u00eb")
    assert ask(site, "shop.who") == (200, None)
    assert ask(site, "shop.session", "ann") == (200, {"session": 7})


@pytest.mark.parametrize("nobody", [None, b"", "", ANONYMOUS])
def test_nobody(nobody: Any) -> None:
    """Without a user, rules see no user."""
    site = Site(service(*RULES).jsonrpc_dispatch.for_user(nobody), timeout=None)
    assert ask(site, "shop.who") == (403, 403)


def test_without_for_user() -> None:
    """The resource itself, mounted beside, knows nobody: rules that allow somebody leave it closed."""
    assert ask(Site(service(*RULES).jsonrpc_dispatch, timeout=None), "shop.who", "ann") == (403, 403)


def test_the_rest_is_asked_as_well() -> None:
    """A foreign host is refused whoever calls."""
    server = makeService(Settings(http_allow=["192.0.2.1"]), Clock(), [who], site_authenticates=True)
    assert ask(guarded(server), "shop.who", "ann")[0] == 403


def test_refused() -> None:
    """Users of a site need to be announced, and there is one way to find out who calls."""
    with pytest.raises(SettingError, match="user= with the setting http_users"):
        service(*RULES, site_authenticates=False)
    for server in (service(site_authenticates=False), service(checker=AllowAnonymousAccess())):
        with pytest.raises(ValueError, match=r"for_user: allowed with makeService\(..., site_authenticates=True\)"):
            server.jsonrpc_dispatch.for_user("ann")
    with pytest.raises(TypeError, match="int"):
        service().jsonrpc_dispatch.for_user(7)  # type: ignore[arg-type]
