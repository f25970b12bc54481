"""Reads a datagram socket in batches: many datagrams are received with one system call, and answered with one.

C{recvfrom} and C{sendto} are most of what a datagram costs in Python; C{recvmmsg} and C{sendmmsg} (recvmmsg(2),
sendmmsg(2)) take many at once, and leave the addresses as the kernel has them. Each datagram has a slot, into which it
is received and from which it is answered. Other replies go the general way: those that are large, that have to wait for
their client or for others before them, that go to a client that needs a closer look, and those that cannot be sent.

If there are rules, each datagram is admitted before its document is read, by what the kernel says of its sender.
Replies keep their order, and none waits for the commands of others longer than L{HOLD}. What is left in the slots when
it is time for other transports is answered in the next turn of the reactor.
"""

import contextlib
import ctypes
import mmap
import os
import socket
import sys
from collections.abc import Callable
from functools import lru_cache
from math import inf
from time import monotonic
from typing import Any, Final

from twisted.internet.defer import Deferred

from jsonrpcs_tx.access.peers import UCRED
from jsonrpcs_tx.datagrams.datagramreader import MAX_DATAGRAM, DatagramReader
from jsonrpcs_tx.datagrams.replysocket import UnixReplySocket
from jsonrpcs_tx.datagrams.responder import MAX_CALLERS, Responder, datagram_peer
from jsonrpcs_tx.rpc.origin import Origin, Peer
from jsonrpcs_tx.rpc.replies import NO_REPLY, Reply
from jsonrpcs_tx.transports.waiting import WaitingReply

SLOTS: Final = 64
"""Datagrams that are received at once."""

MAX_BODY: Final = 8192
"""Bytes of a reply that is sent with others; for a larger one, a separate call makes no difference."""

HOLD: Final = 0.001
"""Seconds after which replies that are ready are sent before further commands are run."""

_SLOT_SIZE: Final = MAX_DATAGRAM + 64
"""Bytes of a slot. Without the last 64 all slots would begin in the same lines of the processor's cache."""

_NAME_SIZE: Final = 128
"""Bytes of a socket address (sockaddr_storage)."""

_NO_NAME: Final = 2
"""Bytes of an unnamed address, which is its family alone (unix(7))."""


_CONTROL_SIZE: Final = socket.CMSG_SPACE(12)
"""Bytes of a control message with the sender's process, user and group (unix(7), SCM_CREDENTIALS)."""

_UID: Final = socket.CMSG_LEN(4)
"""Where the user is in it."""

_CREDENTIALS: Final = socket.CMSG_LEN(0)
"""Where the credentials of a client are in its control message."""

_USER_AND_GROUP: Final = _UID, _UID + 8
"""Where the user and the group are in it."""

_PROCESS_TO_GROUP: Final = _CREDENTIALS, _CREDENTIALS + UCRED.size
"""Where they are with the process."""

_HOSTS: Final[dict[int, tuple[int, int]]] = {socket.AF_INET: (4, 8), socket.AF_INET6: (8, 24)}
"""Where the IP address is in a socket address (sockaddr_in, sockaddr_in6), by family."""

_PORTS_AND_HOSTS: Final[dict[int, tuple[int, int]]] = {socket.AF_INET: (2, 8), socket.AF_INET6: (2, 24)}
"""Where it is with the port."""

_ROOTED: Final = frozenset(b"/\0")
"""How the address of a Unix client must begin to be answered: as an absolute path, or an abstract name."""


class _Vector(ctypes.Structure):
    """An iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """A msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Header(ctypes.Structure):
    """An mmsghdr."""

    _fields_ = (("message", _Message), ("size", ctypes.c_uint32))


def _function(name: str, *types: Any) -> Any:
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is not None:
        function.argtypes = types
    return function


_receive = _function("recvmmsg", ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_send = _function("sendmmsg", ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)

AVAILABLE: Final = _receive is not None and _send is not None
"""Whether this system has the calls."""


def _start(buffer: Any) -> int:
    """The address of a buffer, which must not be resized."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


class _Slots:
    """Datagrams on their way in, and their replies on their way out.

    @param count: how many there are.
    @param family: of the socket. A Unix socket tells the users of its clients.
    @ivar data: the buffer of all slots, each of L{_SLOT_SIZE}; only what is used of it takes up memory.
    @ivar sizes: how many bytes each received datagram has.
    @ivar name_sizes: how many bytes the address that it came from has.
    @ivar ports: the UDP port that it came from, in network byte order.
    @ivar starts: the first byte of the Unix address that it came from.
    @ivar uids: the user of the Unix client; where it is not known, a number that no user has.
    @ivar senders: what is known of the senders of datagrams.
    @ivar admission_slices: the part of it that tells one sender from others as far as rules do, for each slot: the IP
        address, or the user and group.
    @ivar client_slices: the same, with the port or the process.
    @ivar replies: how many bytes of each slot are to be sent.
    """

    def __init__(self, count: int, family: int) -> None:
        self.data = mmap.mmap(-1, count * _SLOT_SIZE)
        with contextlib.suppress(OSError):  # a kernel that has no huge pages
            self.data.madvise(mmap.MADV_NOHUGEPAGE)  # they would be used as a whole
        self._names = mmap.mmap(-1, count * _NAME_SIZE)  # of which a part is bytes
        self._vectors = bytearray(count * ctypes.sizeof(_Vector))
        self._headers = bytearray(count * ctypes.sizeof(_Header))
        self._controls = mmap.mmap(-1, count * _CONTROL_SIZE)
        vectors = (_Vector * count).from_buffer(self._vectors)
        headers = (_Header * count).from_buffer(self._headers)
        data, names, controls = _start(self.data), _start(self._names), _start(self._controls)
        for place in range(count):
            vectors[place] = _Vector(data + place * _SLOT_SIZE, MAX_DATAGRAM)
            message = headers[place].message
            message.name, message.name_size = names + place * _NAME_SIZE, _NAME_SIZE
            message.vectors, message.vector_count = ctypes.addressof(vectors[place]), 1
            if family == socket.AF_UNIX:
                message.control, message.control_size = controls + place * _CONTROL_SIZE, _CONTROL_SIZE
        self._address = _start(self._headers)
        self._empty = bytes(self._vectors), bytes(self._headers), b"\xff" * len(self._controls)
        words = memoryview(self._headers).cast("I")
        step = ctypes.sizeof(_Header) // 4
        self.sizes = words[_Header.size.offset // 4 :: step]
        self.name_sizes = words[_Message.name_size.offset // 4 :: step]
        self.replies = memoryview(self._vectors).cast("L")[1::2]
        self.ports = memoryview(self._names).cast("H")[1 :: _NAME_SIZE // 2]
        self.starts = memoryview(self._names)[2::_NAME_SIZE]
        self._control_sizes = memoryview(self._headers).cast("L")[_Message.control_size.offset // 8 :: step // 2]
        self._no_control = memoryview(bytes(8 * count)).cast("L")
        self.uids = memoryview(self._controls).cast("I")[_UID // 4 :: _CONTROL_SIZE // 4]
        self.senders, self._step = (self._names, _NAME_SIZE) if family in _HOSTS else (self._controls, _CONTROL_SIZE)
        self.admission_slices = self._slices(*_HOSTS.get(family, _USER_AND_GROUP))
        self.client_slices = self._slices(*_PORTS_AND_HOSTS.get(family, _PROCESS_TO_GROUP))

    def _slices(self, begin: int, end: int) -> list[slice]:
        """The same part of what is known of each sender."""
        return [slice(start + begin, start + end) for start in range(0, len(self.senders), self._step)]

    def receive(self, fd: int, count: int) -> int:
        """Fill slots with what has come.

        @return: how many; below 0 if there was an error, see C{ctypes.get_errno}.
        """
        self._vectors[:], self._headers[:], self._controls[:] = self._empty
        return int(_receive(fd, self._address, count, 0, None))

    def send(self, fd: int, first: int, end: int) -> int:
        """Send the replies of slots, each to where its datagram came from.

        @return: how many, up to one that cannot be sent just now; below 0 if that is the first.
        """
        self._control_sizes[first:end] = self._no_control[first:end]  # or replies would carry the clients' credentials
        return int(_send(fd, self._address + first * ctypes.sizeof(_Header), end - first, 0))

    def peer(self, place: int) -> Any:
        """The address that a datagram came from, as the module C{socket} has it."""
        start = place * _NAME_SIZE
        name = self._names[start : start + self.name_sizes[place]]
        family = int.from_bytes(name[:2], sys.byteorder)
        if family == socket.AF_UNIX:
            path = bytes(name[2:])
            return path if path[:1] == b"\0" else os.fsdecode(path.partition(b"\0")[0])
        port = int.from_bytes(name[2:4], "big")
        if family == socket.AF_INET:
            return socket.inet_ntoa(name[4:8]), port
        flow, scope = int.from_bytes(name[4:8], "big"), int.from_bytes(name[24:28], sys.byteorder)
        return socket.inet_ntop(socket.AF_INET6, name[8:24]), port, flow, scope


class BatchReader(DatagramReader):
    """Reads the datagrams that come to one bound socket, and has them answered.

    @param sock: bound and non-blocking; whoever gives it closes it.
    @param responder: answers the datagrams.
    """

    _busy = False
    _place = _received = _current = 0
    _rest: Any = None
    _then: Callable[[None], None] | None = None

    def __init__(self, sock: socket.socket, responder: Responder, reactor: Any) -> None:
        super().__init__(sock, responder, reactor)
        self._reactor: Any = reactor
        self._responder = responder
        self._replies = responder.replies
        self._outgoing = outgoing = responder.replies.outgoing
        self._trusted: frozenset[int] = frozenset()
        self._special_ports: frozenset[int] = frozenset()
        if isinstance(outgoing, UnixReplySocket):
            self._trusted = outgoing.trusted
        else:
            self._special_ports = frozenset(map(socket.htons, outgoing.special_ports))
        self._is_unix = isinstance(outgoing, UnixReplySocket)
        self._slots = _Slots(SLOTS, sock.family)
        self._anybody = Origin(responder.protocol, find_peer=self._find_peer)
        self._peers = lru_cache(MAX_CALLERS)(self._make_peer)
        self._admitted = responder.remember(lambda sender: responder.admitted(self._find_peer))

    def finish(self) -> Deferred[None]:
        if not self._busy:
            return super().finish()
        # A command stops the server: the datagrams that came with it are answered first.
        self.stopReading()
        finished: Deferred[None] = Deferred()
        self._then = finished.callback
        return finished.addCallback(lambda _: super(BatchReader, self).finish())

    def doRead(self) -> None:
        if self._rest is None:
            super().doRead()

    def stop(self) -> None:
        super().stop()
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def read(self, most: int, end: float = inf) -> None:
        self._busy = True
        try:
            if self._place < self._received and not self._answer_slots(end):
                return
            while most > 0:
                wanted = min(most, SLOTS)
                received = self._slots.receive(self._socket.fileno(), wanted)
                if received < 0:
                    self._not_received(ctypes.get_errno())
                    return
                self._place, self._received = 0, received
                if not self._answer_slots(end) or received < wanted:
                    return
                most -= received
        finally:
            self._busy = False
            self._responder.dispatcher.release()
            then, self._then = self._then, None
            if then is not None:
                then(None)

    def _answer_rest(self) -> None:
        self._rest = None
        self.doRead()

    def _answer_slots(self, end: float) -> bool:
        """Answer what has been received into the slots, until it is time for others.

        @return: whether all is answered.
        """
        begin, count = self._place, self._received
        self._place = count
        responder, slots = self._responder, self._slots
        anybody, admitted, senders, admission_slices = (
            self._anybody,
            self._admitted,
            slots.senders,
            slots.admission_slices,
        )
        dispatch, answer = responder.dispatcher.dispatch, self._replies.answer
        data, sizes, name_sizes, replies = slots.data, slots.sizes, slots.name_sizes, slots.replies
        is_unix, uids, starts, ports = self._is_unix, slots.uids, slots.starts, slots.ports
        trusted, special_ports = self._trusted, self._special_ports
        first = begin
        due = monotonic() + HOLD
        responder.dispatcher.hold()
        for place in range(begin, count):
            start = place * _SLOT_SIZE
            document = data[start : start + sizes[place]]
            self._current = place
            origin = anybody if responder.admits_all else admitted(senders[admission_slices[place]])
            reply: Reply | Deferred[Reply] = NO_REPLY
            if origin is None:
                responder.drop(document, self._find_peer())
            else:
                reply = dispatch(document, origin)
            if type(reply) is not Reply:
                peer = slots.peer(place) if name_sizes[place] > _NO_NAME else None
                self._replies.answer_later(reply, document, peer, slots.uids[place])
                reply = NO_REPLY
            body = reply.body
            size = len(body)
            if (
                0 < size <= MAX_BODY
                and name_sizes[place] > _NO_NAME
                and (
                    uids[place] in trusted and starts[place] in _ROOTED
                    if is_unix
                    else ports[place] not in special_ports
                )
            ):
                data[start : start + size] = body
                replies[place] = size
                if monotonic() < due:
                    continue
                self._send_slots(first, place + 1)
            else:
                self._send_slots(first, place)
                if body and name_sizes[place] > _NO_NAME:
                    answer(reply, document, slots.peer(place), slots.uids[place])
            first = place + 1
            now = monotonic()
            if now >= end and first < count:
                self._place = first
                if self._rest is None:  # nothing more may come, so nobody else would call this
                    self._rest = self._reactor.callLater(0, self._answer_rest)
                return False
            due = now + HOLD
            responder.dispatcher.hold()
        self._send_slots(first, count)
        return True

    def _find_peer(self) -> Peer:
        """Who has sent the datagram that is being answered."""
        slots = self._slots
        return self._peers(slots.senders[slots.client_slices[self._current]])

    def _make_peer(self, sender: bytes) -> Peer:
        """Who has sent the datagram, from what the kernel says of its sender."""
        pid, uid, gid = UCRED.unpack(sender) if self._is_unix else (None, None, None)
        address = None if self._is_unix else self._slots.peer(self._current)
        return datagram_peer(self._responder.protocol, address, uid, gid, pid)

    def _may_send(self, first: int, end: int) -> bool:
        """Whether the replies of some slots can be sent without a look at the clients' shares."""
        if self._replies.queue:
            return False
        outgoing = self._outgoing
        if not isinstance(outgoing, UnixReplySocket):
            return True
        return outgoing.room.is_plenty(sum(self._slots.replies[first:end]), end - first)

    def _send_slots(self, first: int, end: int) -> None:
        """Send the replies of some slots."""
        self._responder.dispatcher.release()
        slots = self._slots
        while first < end:
            sent = slots.send(self._socket.fileno(), first, end) if self._may_send(first, end) else 0
            if sent <= 0:
                start = first * _SLOT_SIZE
                body = slots.data[start : start + slots.replies[first]]
                self._replies.send(WaitingReply(body, slots.peer(first), slots.uids[first], None))
                sent = 1
            first += sent
