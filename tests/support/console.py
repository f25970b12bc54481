"""A browser, as far as the console needs one: it keeps cookies, says where its page is from, and reads events."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jsonrpcs_tx.console.resource import ConsoleResource
from jsonrpcs_tx.console.sessions import Sessions
from jsonrpcs_tx.transports.unread import socket_transport
from tests.support.http import Client, HttpCase, Response
from tests.support.users import write

CONSOLE = "/console"

HOST = "127.0.0.1"

JSON_TYPE = "Content-Type: application/json"


def call(method: str, *params: Any) -> bytes:
    """A request in JSON-RPC."""
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1}).encode()


class Events:
    """A stream of events."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._data = b""
        self.comments = 0

    async def next(self, *names: str) -> tuple[str, Any]:
        """The next event of some names, or of any: its name and its data."""
        while True:
            while b"\n\n" not in self._data:
                await self._read()
            block, _, self._data = self._data.partition(b"\n\n")
            fields: dict[str, str] = {}
            for line in block.decode().split("\n"):
                name, _, value = line.partition(":")
                assert name in ("", "event", "data", "retry"), block
                assert name not in fields, block
                fields[name] = value.removeprefix(" ")
            self.comments += "" in fields
            if "event" in fields and (not names or fields["event"] in names):
                return fields["event"], json.loads(fields["data"])

    async def data(self, name: str) -> Any:
        """The data of the next event of a name."""
        return (await self.next(name))[1]

    async def first(self, names: Iterable[str]) -> dict[str, Any]:
        """The first event of each of some names."""
        found: dict[str, Any] = {}
        wanted = [*names]
        while len(found) < len(wanted):
            name, data = await self.next(*wanted)
            found.setdefault(name, data)
        return found

    async def end(self) -> Any:
        """Why the stream ends; then the response is complete."""
        reason = await self.data("end")
        while not self._client.received.startswith(b"0\r\n\r\n"):
            await self._client._more()
        return reason

    async def close(self) -> None:
        await self._client.close()

    def stop_reading(self) -> None:
        socket_transport(self._client.transport).pauseProducing()

    def read_on(self) -> None:
        socket_transport(self._client.transport).resumeProducing()

    async def _read(self) -> None:
        """Read a chunk."""
        client = self._client
        while b"\r\n" not in client.received:
            await client._more()
        size, _, rest = client.received.partition(b"\r\n")
        length = int(size, 16)
        assert length, "the stream has ended"
        while len(rest) < length + 2:
            await client._more()
            rest = client.received.partition(b"\r\n")[2]
        self._data += rest[:length]
        client.received = rest[length + 2 :]


class Browser:
    """What a browser does for the page of a console.

    @ivar cookie: what it sends as Cookie; empty: nothing.
    """

    def __init__(
        self, case: "ConsoleCase", host: str = HOST, origin: str | None = None, via: str = "127.0.0.1"
    ) -> None:
        self._case = case
        self._host = host
        self._via = via
        self.origin = f"{case.protocol}://{host}" if origin is None else origin
        self.cookie = ""

    def request(self, method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
        """The bytes of a request."""
        lines = [f"{method} {CONSOLE}/{path} HTTP/1.1", f"Host: {self._host}", *headers]
        if self.cookie:
            lines.append(f"Cookie: {self.cookie}")
        if method != "GET" and self.origin and not any(one.startswith("Origin") for one in headers):
            lines.append(f"Origin: {self.origin}")
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def ask(self, method: str, path: str, *headers: str, body: bytes = b"") -> Response:
        """The response to a request. The cookie that it sets is kept."""
        response = await self._case.ask(
            self.request(method, path, *headers, body=body), method != "HEAD", host=self._via
        )
        cookie = response.headers.get(b"set-cookie")
        if cookie is not None:
            pair = cookie.decode().partition(";")[0]
            self.cookie = pair if pair.partition("=")[2] else ""
        return response

    async def get(self, path: str, *headers: str) -> Response:
        return await self.ask("GET", path, *headers)

    async def sign_in(self, user: str, password: str | None = None, *headers: str) -> Response:
        """Sign in; the password is the user's name."""
        body = json.dumps({"user": user, "password": user if password is None else password}).encode()
        return await self.ask("POST", "session", JSON_TYPE, *headers, body=body)

    async def session(self) -> Any:
        """What the page gets to know of its user."""
        response = await self.get("session")
        assert response.status == 200, response.body
        return json.loads(response.body)

    async def call(self, method: str, *params: Any, path: str = "RPC") -> Response:
        """Call a command."""
        return await self.ask("POST", path, JSON_TYPE, body=call(method, *params))

    async def events(self, *panels: str) -> Events:
        """Watch panels."""
        client = await self._case.connect(self._via)
        client.write(self.request("GET", f"events?panels={','.join(panels)}"))
        while b"\r\n\r\n" not in client.received:
            await client._more()
        head, _, client.received = client.received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        assert b"\r\nContent-Type: text/event-stream\r\n" in head
        assert b"\r\nCache-Control: no-store\r\n" in head
        return Events(client)


class ConsoleCase(HttpCase):
    """A server with a console. Nothing of Kamailio's families is left out."""

    options = {"load": ["all"], "htable": ["t=>size=4;", "secret=>size=4;autoexpire=60;"]}

    def browser(self, **how: Any) -> Browser:
        return Browser(self, **how)

    @property
    def console(self) -> ConsoleResource:
        """The resource."""
        page = self.service.pages[CONSOLE]
        assert isinstance(page, ConsoleResource)
        return page

    @property
    def sessions(self) -> Sessions:
        """Who has signed in."""
        return self.console._visitors.sessions

    def users(self, *names: str) -> str:
        """Write a file of users, whose passwords are their names.

        @return: its path.
        """
        path: Path = self.directory / "users"
        write(path, *names)
        return str(path)
