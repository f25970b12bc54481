"""Heads of requests that RFC 9112 forbids, or that it has served: what each gets on every way."""

from tests.support import ECHO_REPLY
from tests.support.http import HttpCase, repeat_everywhere
from tests.support.httpheads import REFUSED, SERVED, SMUGGLED


class HeadTests(HttpCase):
    """Requests whose head RFC 9112 or RFC 9110 has something to say about."""

    async def test_refused(self) -> None:
        """What is malformed or ambiguous gets its status and a line of words, once, and no command is run."""
        self.serve()
        for name, (status, data) in REFUSED.items():
            client = await self.connect()
            client.write(data)
            response = await client.response()
            assert (response.status, response.body[:4]) == (status, b"%d " % status), name
            if status in (400, 501):
                assert await client.end() == b"", name
            await client.close()
        for transport in ("http", "https"):
            assert self.service.dispatcher.traffic(transport).requests.value == 0

    async def test_unsupported(self) -> None:
        """The reply to a body that is compressed says what may be sent."""
        response = await self.ask(REFUSED["gzip body"][1])
        assert response.headers[b"accept-encoding"] == b"identity"

    async def test_served(self) -> None:
        """What looks odd and is allowed is served."""
        for name, data in SERVED.items():
            response = await self.ask(data)
            assert (response.status, response.body) == (200, ECHO_REPLY), name

    async def test_nothing_after_a_refusal(self) -> None:
        """What comes behind a request that was refused, in the same write or later, is not run."""
        for bad in ("identity", "no host", "bare CR", "trailer without a colon", "length of 5,000 digits"):
            client = await self.connect()
            client.write(REFUSED[bad][1] + SMUGGLED)
            assert (await client.response()).status in (400, 413)
            client.write(SMUGGLED)
            assert await client.end() == b"", bad
        assert self.service.dispatcher.traffic("http").requests.value == 0
        assert self.service.dispatcher.traffic("https").requests.value == 0


repeat_everywhere(globals(), HeadTests)
