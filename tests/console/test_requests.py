"""Odd and hostile requests for the page, its files and what is behind it."""

from jsonrpcs_tx.console.assetfiles import read_assets
from tests.support.console import CONSOLE, HOST, ConsoleCase
from tests.support.http import Response, repeat_everywhere

PATHS = ("", "assets/main.js", "session", "openrpc.json", "table?name=t")
"""The paths for which GET and HEAD are answered at once."""

CONDITIONS = ("*", '""', 'W/"x"', '"' * 5000, '"a",' * 3000, "\xff\xfe", ",", ", , *", '"a" "b"', "*" * 5000)


class Requests(ConsoleCase):
    """Whatever a client sends, the headers are the server's own, and the next request gets its answer."""

    async def heads(self, method: str, path: str, *headers: str) -> tuple[Response, Response]:
        """The response to a request with some headers, and to one after it on the same connection."""
        client = await self.connect()
        lines = [f"{method} {CONSOLE}/{path} HTTP/1.1", f"Host: {HOST}", *headers, "", ""]
        client.write("\r\n".join(lines).encode("latin-1"))
        first = await client.response(method != "HEAD")
        client.write(f"GET {CONSOLE}/assets/dom.js HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        second = await client.response()
        await client.close()
        return first, second

    def assert_good(self, second: Response) -> None:
        assert (second.status, second.body) == (200, read_assets()[b"dom.js"].body)

    async def test_head(self) -> None:
        """HEAD gets what GET does without a body, and nothing that could be taken for the next answer."""
        for path in PATHS:
            got = await self.browser().get(path)
            head, second = await self.heads("HEAD", path)
            assert (head.status, head.body) == (200, b"")
            varying = (b"date", b"content-length") if path == "session" else (b"date",)
            for name in {*got.headers, *head.headers} - {*varying}:
                assert head.headers[name] == got.headers[name], (path, name)
            self.assert_good(second)

    async def test_range(self) -> None:
        """Ranges are not offered, so the whole is sent, whatever a client asks for."""
        whole = read_assets()[b"main.js"].body
        for asked in ("bytes=0-0", "bytes=5-1", "bytes=-1", "bytes=" + "0-1," * 2000, "bytes=0-99999999999999", "x"):
            first, second = await self.heads("GET", "assets/main.js", f"Range: {asked}", "If-Range: *")
            assert (first.status, first.body) == (200, whole)
            assert b"content-range" not in first.headers
            self.assert_good(second)

    async def test_conditions(self) -> None:
        """Whatever version a client says that it has, it gets the file or 304, and the next answer follows."""
        whole = read_assets()[b"main.js"].body
        for condition in CONDITIONS:
            first, second = await self.heads("GET", "assets/main.js", f"If-None-Match: {condition}")
            assert (first.status, first.body) in ((200, whole), (304, b"")), condition
            self.assert_good(second)
        first, second = await self.heads("GET", "assets/main.js", "If-Modified-Since: x", "If-Match: y", "If-Range: z")
        assert (first.status, first.body) == (200, whole)
        self.assert_good(second)

    async def test_cookies(self) -> None:
        """However many and long the cookies of other servers on the host are, the console finds its own."""
        self.serve(http_users=self.users("ann"))
        browser = self.browser()
        assert (await browser.sign_in("ann")).status == 204
        own = browser.cookie
        others = "; ".join(f"c{number}={'x' * 20}" for number in range(400))
        for cookie in (
            f"{others}; {own}",
            f"{own}; {others}",
            f"a={'x' * 14_000}; {own}",
            f'a="; {own}; b="',
            f";;={own}; {own}",
        ):
            browser.cookie = cookie
            assert (await browser.session())["user"] == "ann", cookie[:50]
        browser.cookie = f"{own}; {own}"
        assert (await browser.session())["user"] is None
        for cookie in ("x" * 14_000, "=" * 5000, ";" * 10_000, "\xff=\xfe", own.replace("=", "\t=")):
            browser.cookie = cookie
            assert (await browser.session())["user"] is None, cookie[:50]

    async def test_headers_of_others(self) -> None:
        """No part of a path, a query or a name becomes a header or the target of a redirect."""
        for path in ("%0d%0aX-Evil:%201", "%0aX-Evil:1", "%E5%98%8A%E5%98%8DX-Evil:1", "..%5cX-Evil"):
            for target in (
                f"{CONSOLE}{path}",
                f"{CONSOLE}/{path}",
                f"{CONSOLE}?{path}",
                f"/{path}{CONSOLE}",
                f"//evil.example{CONSOLE}",
            ):
                client = await self.connect()
                client.write(f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
                response = await client.response()
                assert b"x-evil" not in response.headers
                assert response.headers.get(b"location", b"console/") == b"console/", target
                assert b"set-cookie" not in response.headers
                await client.close()

    async def test_names(self) -> None:
        """A name with line breaks signs nobody in, and makes no header and no line in the log."""
        self.serve(http_users=self.users("ann"))
        for name in ("ann\r\nSet-Cookie: x=1", "ann\n", "ann\0", "a\u2028b", "\ud7ff" * 3, "x" * 4000):
            response = await self.browser().sign_in(name, "ann")
            assert (response.status, b"set-cookie" in response.headers) == (403, False)
            assert b"x-evil" not in response.headers

    async def test_old_version(self) -> None:
        """HTTP/1.0 gets the same, without chunks, and the connection ends."""
        for path in PATHS:
            client = await self.connect()
            client.write(f"GET {CONSOLE}/{path} HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
            response = await client.response()
            assert response.status == 200
            assert b"transfer-encoding" not in response.headers
            assert await client.end() == b""


repeat_everywhere(globals(), Requests)
