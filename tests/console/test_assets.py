"""The page and its files: who gets them, with which headers."""

from pathlib import Path
from typing import Any

import pytest

from jsonrpcs_tx import SettingError, Settings, makeService
from jsonrpcs_tx.console.assetfiles import DIRECTORY, TYPES, read_assets
from jsonrpcs_tx.console.resource import HEADERS
from tests.support import http_request
from tests.support.console import ConsoleCase
from tests.support.http import Response, repeat_everywhere

MAX_TOTAL = 150_000
"""Bytes that all files may have together."""


def assert_strict(response: Response) -> None:
    """A response has all headers that keep a browser from doing more than the page needs."""
    for name, value in HEADERS.items():
        assert response.headers[name.lower().encode()] == value.encode(), name
    assert b"access-control-allow-origin" not in response.headers


class Assets(ConsoleCase):
    async def test_page(self) -> None:
        """The page is at the path of the setting, and needs no script in itself."""
        response = await self.browser().get("")
        assert response.status == 200
        assert response.headers[b"content-type"] == b"text/html; charset=utf-8"
        assert response.headers[b"cache-control"] == b"no-cache"
        assert response.body == (DIRECTORY / "index.html").read_bytes()
        assert_strict(response)
        policy = response.headers[b"content-security-policy"]
        assert b"default-src 'none'" in policy
        assert b"unsafe" not in policy

    async def test_redirect(self) -> None:
        """The path without a slash leads to that with one, by a relative URL, so that a prefix of a proxy stays."""
        response = await self.ask(http_request(b"", method="GET", path="/console"))
        assert (response.status, response.headers[b"location"]) == (302, b"console/")
        assert_strict(response)

    async def test_each_file(self) -> None:
        """Each file has its type, and a tag that changes with it, so that it is sent again only if it has changed."""
        for name, asset in read_assets().items():
            if name == b"index.html":
                continue
            path = f"assets/{name.decode()}"
            response = await self.browser().get(path)
            assert (response.status, response.body) == (200, asset.body)
            assert response.headers[b"content-type"].decode() == TYPES[Path(path).suffix]
            assert_strict(response)
            tag = response.headers[b"etag"].decode()
            again = await self.browser().ask("HEAD", path, f"If-None-Match: {tag}")
            assert (again.status, again.body) == (304, b"")

    async def test_not_changed(self) -> None:
        """A browser that has the page gets 304, and another tag the page."""
        tag = (await self.browser().get("")).headers[b"etag"].decode()
        assert (await self.browser().ask("HEAD", "", f"If-None-Match: {tag}")).status == 304
        assert (await self.browser().get("", 'If-None-Match: "x"')).status == 200

    async def test_head(self) -> None:
        """HEAD gets the headers, and other methods 405."""
        head = await self.browser().ask("HEAD", "")
        assert (head.status, head.body) == (200, b"")
        assert int(head.headers[b"content-length"]) == len((DIRECTORY / "index.html").read_bytes())
        assert (await self.browser().ask("POST", "", body=b"{}")).status == 405

    async def test_nothing_else(self) -> None:
        """No other file is served, whatever the path is."""
        for path in (
            *(
                "assets",
                "assets/",
                "assets/x.js",
                "assets/index.html",
                "assets/../index.html",
                "assets/..%2findex.html",
            ),
            *("assets/%2e%2e/resource.py", "assets/../resource.py", "assets//etc/passwd", "assets/a/../index.html"),
            *("x", "session/x", "events/", "index.html", "RPC2", "..%2fsession", "%73ession/"),
        ):
            response = await self.browser().get(path)
            assert response.status == 404, path
            assert_strict(response)

    async def test_links(self) -> None:
        """A link on any page leads to the console, which shows nothing yet; what shows something, no foreign page
        gets.
        """
        foreign = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")
        assert (await self.browser().get("", *foreign)).status == 200
        for path in ("session", "openrpc.json", "events?panels=load", "table?name=t"):
            response = await self.browser().get(path, *foreign)
            assert response.status == 403, path
            assert_strict(response)

    async def test_stranger(self) -> None:
        """A client outside the allowed networks, or one that uses another name of the server, gets nothing."""
        self.serve(http_allow=["127.0.0.1"])
        assert (await self.browser(host="evil.example").get("")).status == 403
        client = await self.connect("127.0.0.2")
        client.write(self.browser().request("GET", ""))
        assert (await client.end())[:12] in (b"", b"HTTP/1.1 403")

    async def test_disabled(self) -> None:
        """Without the setting there is nothing."""
        self.serve(console="")
        for path in ("", "session", "RPC"):
            assert (await self.browser().get(path)).status == 404

    async def test_below_json_rpc(self) -> None:
        """The console may be below the path of JSON-RPC, and everything below it is the console's."""
        self.serve(http_path="/", http_users=self.users("ann"))
        assert (await self.browser().get("")).status == 200
        assert (await self.ask(http_request(b"{}", path="/console/RPC"))).status == 415
        assert (await self.ask(http_request(b"{}", path="/consoles"))).status == 401


repeat_everywhere(globals(), Assets)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"console": "/RPC"}, "console"),
        ({"console": "/a", "http_path": "/a/RPC"}, "console"),
        ({"console": "/health"}, "console"),
        ({"console": "/a", "health": "/a/health"}, "console"),
        ({"console": "/a", "openrpc": "/a/openrpc.json"}, "console"),
        ({"console": "/a", "metrics": "/a/session"}, "console"),
    ],
)
def test_taken_path(settings: dict[str, Any], name: str) -> None:
    """The console hides no other page, nor JSON-RPC."""
    with pytest.raises(SettingError, match=f"{name}.*no other page has"):
        makeService(Settings(**settings))


def test_size() -> None:
    """All files together are small, and each of them is served."""
    files = [path for path in DIRECTORY.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAX_TOTAL
    assert {path.name.encode() for path in files} == read_assets().keys()


def test_files(tmp_path: Path) -> None:
    """Only files of known kinds are read."""
    for name in ("a.js", "b.css", "c.py", "d", ".js"):
        (tmp_path / name).write_text(name)
    (tmp_path / "e.js").mkdir()
    assets = read_assets(tmp_path)
    assert assets.keys() == {b"a.js", b"b.css"}
    assert assets[b"a.js"].tag != assets[b"b.css"].tag
