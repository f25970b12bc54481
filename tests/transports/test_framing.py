"""Framing: documents cut anywhere, several at once, broken ones, and the limit of their size."""

import json
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jsonrpcs_tx.transports.framing import Framer
from tests.support import is_json
from tests.support.framing import LIMIT, REQUEST, counted, documents_of, feed, single_bytes, verdict

DOCUMENTS = (
    REQUEST,
    b"{}",
    b"[]",
    b"[{},[{}]]",
    b'{"a":{"b":[{"c":{}}]},"d":[]}',
    b'{"a":"}{][","b":{"c":"]}"}}',
    b'["]","[",["]"]]',
    rb'{"a":"\"}","b":{"c":"\\"}}',
    rb'{"a":"\\\"}\u007d","b":"\\"}',
    b'{ "a" :\r\n\t1 ,\n "b" : { } }',
    '{"a":"é€😀}","b":{"ü":"ß"}}'.encode(),
    b'{"a":"\x00\xff","b":{"c":"\xc3"}}',
    b"{]}",
    b"[}]",
    b'[%s,{"jsonrpc":"2.0","method":"n","params":{"x":[1,2]}}]' % REQUEST,
)
SEPARATORS = (b"", b"\n", b" \t\r\n", b"\n" * 300)

_TOKENS = st.sampled_from([b"{", b"}", b"[", b"]", b'"', b"\\", b" ", b"\n", b"a", b",", b'{"id":', b'"}', *DOCUMENTS])
_LINE = st.lists(_TOKENS.filter(lambda token: b"\n" not in token), max_size=30).map(b"".join)
_STREAMS = st.lists(_TOKENS, max_size=30).map(b"".join)
_CUTS = st.lists(st.integers(0, 400), max_size=8)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(['"', "\\", "}\n{", "\n", '{"id":1}', "[", "x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "method", "\n{", "a"]), inner),
    max_leaves=12,
).filter(lambda value: isinstance(value, list | dict))
"""JSON documents."""


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(place for place in places if place < len(stream))})
    return [stream[start:end] for start, end in pairwise(edges)]


class DocumentsTests(SynchronousTestCase):
    """Whole documents, however they come."""

    def test_cut_anywhere(self) -> None:
        """A document in two pieces, cut at any byte, comes out whole when its last byte has come, and not before."""
        for document in DOCUMENTS:
            for place in range(1, len(document)):
                framer = Framer(LIMIT)
                assert framer.feed(document[:place]) == []
                assert framer.unfinished
                assert framer.feed(document[place:]) == [document]
                assert not framer.unfinished

    def test_byte_by_byte(self) -> None:
        """Documents that come byte by byte come out whole, in order."""
        for separator in SEPARATORS:
            stream = separator.join(DOCUMENTS)
            assert feed(Framer(LIMIT), *single_bytes(stream)) == list(DOCUMENTS)

    def test_several_in_one_write(self) -> None:
        """Documents in one write come out one by one, in order, with blanks between them or not."""
        for separator in SEPARATORS:
            framer = Framer(LIMIT)
            assert framer.feed(separator + separator.join(DOCUMENTS) + separator) == list(DOCUMENTS)
            assert not framer.unfinished

    def test_whole_and_a_piece(self) -> None:
        """Of a document and the start of the next, the first comes out at once, the second with its rest."""
        framer = Framer(LIMIT)
        assert framer.feed(REQUEST + REQUEST[:20]) == [REQUEST]
        assert framer.unfinished
        assert framer.feed(REQUEST[20:]) == [REQUEST]

    def test_thousands_in_one_write(self) -> None:
        """As many documents as a read can hold come out of one write, flat or nested."""
        for document in (b"{}", b'{"a":{}}'):
            count = 65_536 // len(document)
            assert Framer(LIMIT).feed(document * count) == [document] * count

    def test_blanks(self) -> None:
        """Blanks are not a document, nor the beginning of one."""
        framer = Framer(LIMIT)
        assert framer.feed(b" \r\n\t" * 100) == []
        assert not framer.unfinished
        assert framer.give_up() == []

    def test_garbage(self) -> None:
        """Garbage is handed out without its blanks, and so is the document behind it."""
        framer = Framer(LIMIT)
        assert framer.feed(b"\n:core.uptime:x \n" + REQUEST) == [b":core.uptime:x", REQUEST]
        assert framer.feed(b"}]null") == [b"}]null"]
        assert not framer.unfinished

    @given(_LINE, _CUTS)
    def test_as_counted(self, stream: bytes, places: list[int]) -> None:
        """Whatever comes on one line, cut wherever, the documents are those that counting brackets finds."""
        expected = counted(stream)
        assert documents_of(feed(Framer(LIMIT), *cut(stream, places))) == expected
        assert documents_of(feed(Framer(LIMIT), stream)) == expected

    @given(st.lists(_VALUES, min_size=1, max_size=4), st.sampled_from([None, 0, 1, 4, "\t", "\n"]), _CUTS)
    def test_any_json(self, values: list[Any], indent: int | str | None, places: list[int]) -> None:
        """Any JSON documents, however they are laid out in lines and cut, come out whole, one by one."""
        documents = [json.dumps(value, indent=indent).encode() for value in values]
        for stream in (b"\n".join(documents), b"".join(documents).replace(b"\n", b"\r\n \n")):
            expected = [b"".join(document.split()) for document in documents]
            for pieces in (cut(stream, places), single_bytes(stream)):
                assert [b"".join(document.split()) for document in feed(Framer(LIMIT), *pieces)] == expected

    @given(_STREAMS, _CUTS)
    def test_cuts_change_nothing(self, stream: bytes, places: list[int]) -> None:
        """Whatever comes, pieces give the same as the whole, up to what is given up at the end."""
        whole, cut_up = Framer(LIMIT), Framer(LIMIT)
        expected = verdict(whole.feed(stream) + whole.give_up())
        assert verdict(feed(cut_up, *cut(stream, places)) + cut_up.give_up()) == expected


class GiveUpTests(SynchronousTestCase):
    """Documents that nobody finishes."""

    BROKEN = (b"{", b'{"jsonrpc":"2.0","method":', b'{"jsonrpc":"2.0","method":"m', b'["\\', b"[[1,2]", b'{"a":"\\"}')

    def test_given_up(self) -> None:
        """An unfinished document is handed out as far as it came, once, and the next one is found."""
        for broken in self.BROKEN:
            framer = Framer(LIMIT)
            assert framer.feed(broken) == []
            assert framer.give_up() == [broken]
            assert not framer.unfinished
            assert framer.give_up() == []
            assert framer.feed(REQUEST) == [REQUEST]

    def test_requests_behind_it(self) -> None:
        """Requests that came behind a broken document come out whole when that is given up."""
        for broken in self.BROKEN:
            framer = Framer(LIMIT)
            pieces = framer.feed(broken + REQUEST + REQUEST) + framer.give_up()
            assert b"".join(pieces) == broken + REQUEST + REQUEST
            assert pieces[-2:] == [REQUEST, REQUEST]

    def test_nothing_to_give_up(self) -> None:
        """Giving up where nothing is unfinished gives nothing."""
        framer = Framer(LIMIT)
        framer.feed(REQUEST)
        assert framer.give_up() == []

    @given(_STREAMS)
    def test_nothing_lost(self, stream: bytes) -> None:
        """All bytes but blanks come out, as documents or as what was given up."""
        framer = Framer(LIMIT)
        pieces = framer.feed(stream) + framer.give_up()
        assert b"".join(b"".join(pieces).split()) == b"".join(stream.split())

    def test_many_starts(self) -> None:
        """Giving up a document that is nothing but starts of requests costs no more than its size asks."""
        for end in (b"", b"}"):
            framer = Framer(LIMIT)
            assert framer.feed(b'{"id":' * 3000 + end) == []
            before = time.process_time()
            framer.give_up()
            assert time.process_time() - before < 1
            assert framer.feed(REQUEST) == [REQUEST]


class LinesTests(SynchronousTestCase):
    """What a client that died has left, and the requests that others write behind it, each on a line of its own."""

    SECOND = REQUEST.replace(b"1", b"2")

    def test_stray_beginnings(self) -> None:
        """Behind what can be no beginning of a document any more, a request on the next line comes out at once."""
        for stray in (
            b"{",
            b"[1",
            b"[[]",
            b'{"a":"',
            b'{"a":"\\',
            b'{"a',
            b'{"a":1',
            b'{"a":1,',
            b'{"a":tr',
            b"{}{",
            b'["]',
        ):
            for blanks in (b"\n", b"\r\n", b"  \n\n\t"):
                for pieces in (
                    [stray + blanks + REQUEST],
                    [stray, blanks, REQUEST],
                    single_bytes(stray + blanks + REQUEST),
                ):
                    framer = Framer(LIMIT)
                    assert feed(framer, *pieces)[-1:] == [REQUEST], stray
                    assert not framer.unfinished

    def test_batch_behind_a_stray_beginning(self) -> None:
        """A batch comes out as a batch."""
        batch = b"[%s, %s]" % (REQUEST, self.SECOND)
        for stray in (b"{", b'{"id":1', b'{"a":"', b"[1"):
            assert Framer(LIMIT).feed(stray + b"\n" + batch + b"\n") == [stray, batch]

    def test_possible_beginnings(self) -> None:
        """Behind what may still become a document, a request comes out with the next one: both cannot belong to it."""
        for stray in (b"[", b'{"params":', b'{"params":[', b"[[1,", b'[{"a":[', b'{"a":[{},'):
            framer = Framer(LIMIT)
            assert framer.feed(stray + b"\n" + REQUEST + b"\n") == [], stray
            assert framer.feed(self.SECOND + b"\n")[-2:] == [REQUEST, self.SECOND], stray
            assert not framer.unfinished

    def test_lines_that_belong_to_it(self) -> None:
        """Requests on lines of their own within a batch or its params belong to it."""
        for document in (
            b"[\n" + REQUEST + b",\n" + self.SECOND + b"\n]",
            b'{"jsonrpc":"2.0","method":"m","params":\n[\n' + REQUEST + b"\n]\n}",
            b'{"method":"m","params":\n  ' + REQUEST + b"\n}",
            b'{"params":[1\n,\n[2]\n,\n{}]}',
        ):
            assert Framer(LIMIT).feed(document) == [document]
            assert feed(Framer(LIMIT), *single_bytes(document)) == [document]

    @given(st.one_of(_STREAMS, _VALUES.map(lambda value: json.dumps(value, indent=1).encode())), st.data(), _CUTS)
    def test_any_beginning(self, stream: bytes, data: st.DataObject, places: list[int]) -> None:
        """Whatever came, of two requests on lines of their own the second comes out at once, and nothing is left."""
        stray = stream[: data.draw(st.integers(0, len(stream)))]
        framer = Framer(LIMIT)
        pieces = feed(framer, *cut(stray + b"\n" + REQUEST + b"\n" + self.SECOND, places))
        assert pieces[-1] == self.SECOND
        assert not framer.unfinished

    @pytest.mark.slow
    def test_cost(self) -> None:
        """Lines made to be searched again and again cost no more than their size asks."""
        for stream in (
            b'{"id":' * 10_800 + b'"x\n',
            b'{"id":[{"id":' * 4000 + b'"\n{"id":1}\n{"id":2}',
            b"{" + b"\n" * 60_000 + b"{}",
            b"{\n" * 30_000,
        ):
            framer = Framer(LIMIT)
            before = time.process_time()
            pieces = framer.feed(stream)
            assert time.process_time() - before < 0.5
            assert sum(map(len, pieces)) <= len(stream)
            assert len(framer.give_up()) < 30_000


class LimitTests(SynchronousTestCase):
    """Documents that are too long."""

    LIMIT = 300

    def documents(self, size: int) -> list[bytes]:
        """A flat and a nested document of a size."""
        flat, nested = b'{"a":"%s"}', b'{"a":{"b":["%s"]}}'
        return [template % (b"x" * (size - len(template) + 2)) for template in (flat, nested)]

    def test_up_to_the_limit(self) -> None:
        """A document of as many bytes as the limit allows comes out whole."""
        for document in self.documents(self.LIMIT):
            assert len(document) == self.LIMIT
            assert Framer(self.LIMIT).feed(document) == [document]
            assert feed(Framer(self.LIMIT), *single_bytes(document)) == [document]

    def test_beyond_in_pieces(self) -> None:
        """A longer document that comes byte by byte is handed out in part, once, and the next request is found."""
        for document in self.documents(self.LIMIT + 1) + self.documents(20 * self.LIMIT):
            framer = Framer(self.LIMIT)
            cut_off, *rest = feed(framer, *single_bytes(document + REQUEST))
            assert document.startswith(cut_off)
            assert rest == [REQUEST]

    def test_beyond_in_one_write(self) -> None:
        """A longer document in one write is not handed out whole either, and the request in the same write is found."""
        for document in self.documents(self.LIMIT + 2) + self.documents(20 * self.LIMIT):
            pieces = Framer(self.LIMIT).feed(document + REQUEST)
            assert document not in pieces
            assert pieces[-1] == REQUEST

    def test_next_request_is_not_part_of_it(self) -> None:
        """What is handed out of a document that is too long holds nothing of the request behind it."""
        pieces = Framer(self.LIMIT).feed(b'{"a":"' + b"x" * self.LIMIT + REQUEST)
        assert [piece for piece in pieces if b"method" in piece] == [REQUEST]

    def test_next_request_in_pieces(self) -> None:
        """Behind a document that is too long, a request that comes cut at any byte is found."""
        for place in range(1, len(REQUEST)):
            framer = Framer(self.LIMIT)
            feed(framer, b'{"a":"' + b"x" * self.LIMIT, b"y" * 1000 + REQUEST[:place])
            assert framer.feed(REQUEST[place:]) == [REQUEST]

    def test_given_up_while_skipping(self) -> None:
        """When the rest of a document that is too long stops coming, whatever comes next is a new document."""
        framer = Framer(self.LIMIT)
        feed(framer, b'{"a":"' + b"x" * self.LIMIT, b"y" * 1000)
        assert framer.unfinished
        assert framer.give_up() == []
        assert not framer.unfinished
        assert framer.feed(b'{"other":1}') == [b'{"other":1}']

    def test_bytes_handed_out(self) -> None:
        """No byte is handed out twice, so a document full of starts of requests takes no more memory than it has."""
        framer = Framer(LIMIT)
        framer.feed(b'{"id":' * 10_900)
        assert sum(map(len, framer.feed(b'{"id":' * 100))) <= 6 * 11000

    def test_many_starts(self) -> None:
        """Starts of requests beyond the limit cost no more than their size asks, in one write or two."""
        for limit, sizes in ((self.LIMIT, (3000,)), (LIMIT, (10_900, 400))):
            framer = Framer(limit)
            before = time.process_time()
            feed(framer, *(b'{"id":' * size for size in sizes))
            assert time.process_time() - before < 1
            framer.give_up()
            assert framer.feed(REQUEST) == [REQUEST]

    @given(
        st.lists(st.sampled_from([REQUEST, b'{"a":{"b":1}}', b'{"a":"%s"}' % (b"x" * 300)]), max_size=8),
        _CUTS,
    )
    def test_cuts_change_nothing(self, documents: list[bytes], places: list[int]) -> None:
        """Where a stream is cut does not decide which requests are found."""
        stream = b"\n".join(documents)

        def requests(*pieces: bytes) -> int:
            return feed(Framer(self.LIMIT), *pieces).count(REQUEST)

        assert requests(*cut(stream, places)) == documents.count(REQUEST)
        assert requests(stream) == documents.count(REQUEST)

    @given(st.lists(st.sampled_from([REQUEST, b'{"a":"%s"}' % (b"x" * 300)]), max_size=8), _CUTS)
    def test_cuts_do_not_lift_the_limit(self, documents: list[bytes], places: list[int]) -> None:
        """Where a stream is cut does not decide whether a document is too long."""
        pieces = feed(Framer(self.LIMIT), *cut(b"\n".join(documents), places))
        assert [piece for piece in pieces if is_json(piece) and len(piece) > self.LIMIT] == []
