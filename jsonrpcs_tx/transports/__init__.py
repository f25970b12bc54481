"""The transports: each knows its sockets or files, hands whole documents to the dispatcher, and writes the replies."""

import attrs


@attrs.frozen
class Listener:
    """An address that a transport listens on.

    @ivar protocol: C{fifo}, C{unix}, C{udp}, C{tcp}, C{http} or C{https}.
    @ivar host: the IP address; of C{fifo} and C{unix} the path.
    @ivar port: None for those that have none.
    """

    protocol: str
    host: str
    port: int | None = None

    def __str__(self) -> str:
        if self.port is None:
            return f"{self.protocol} {self.host}"
        return f"{self.protocol} {f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"
