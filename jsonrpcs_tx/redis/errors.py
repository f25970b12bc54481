"""How a call of Redis can fail."""

from typing import Final

from jsonrpcs_tx.errors import JsonRpcsError
from jsonrpcs_tx.printable import printable

_MAX_TEXT: Final = 200


class RedisFailure(JsonRpcsError):
    """A call of Redis has no result.

    @ivar reason: why, in words.
    @ivar sent: whether Redis may have run the command, or may still run it.
    """

    reason: str = ""
    sent: bool = False


class RedisError(RedisFailure):
    """Redis has answered with an error. It has not run the command, or not all of a script.

    @param code: the first word of the error if that is in capitals, such as C{OOM}, C{READONLY} or C{NOPERM}; otherwise
        C{ERR}.
    @param text: the rest of it, up to 200 printable characters.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
        self.reason: str = f"{code} {text}".rstrip()

    def __str__(self) -> str:
        return f"Redis: {self.reason}"

    @classmethod
    def read(cls, line: bytes) -> "RedisError":
        """Read an error.

        @param line: the error as Redis has sent it, without its type byte.
        """
        text = printable(line[: 2 * _MAX_TEXT].decode(errors="replace"))[:_MAX_TEXT]
        code, _, rest = text.partition(" ")
        return cls(code, rest) if code.isascii() and code.isupper() else cls("ERR", text)


class RedisAway(RedisFailure):
    """There is no connection to Redis, or it broke before the reply came.

    @param reason: why, in words.
    @param sent: whether the command had been written to the connection.
    """

    def __init__(self, reason: str, *, sent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent

    def __str__(self) -> str:
        return f"Redis is away: {self.reason}" + ("; it may have run the command" if self.sent else "")


class RedisTimeout(RedisFailure):
    """No reply has come by the deadline.

    @param sent: whether the command had been written to the connection.
    """

    def __init__(self, *, sent: bool = True) -> None:
        super().__init__()
        self.reason = "it has not answered in time"
        self.sent = sent

    def __str__(self) -> str:
        return "Redis has not answered in time" + ("; it may have run the command" if self.sent else "")


class RedisBusy(RedisFailure):
    """Too many calls, or too many bytes, wait for Redis. The command has not been sent.

    @param reason: what is too much, in words.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"too much waits for Redis: {self.reason}"
