"""What the package raises; each says what was wrong, where, and what is allowed."""


class JsonRpcsError(Exception):
    """The base of all that the package raises of its own."""


class StartError(JsonRpcsError):
    """A transport cannot be opened; the message names the setting, what was wrong and what is allowed."""


class SettingError(JsonRpcsError, ValueError):
    """A setting has a value that is not allowed.

    @param name: of the setting.
    @param value: as it was given.
    @param allowed: what is allowed, in words.
    """

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(f"{name}: {_shown(value)} is not allowed; allowed: {allowed}")
        self.name = name
        self.value = value
        self.allowed = allowed


def _shown(value: object) -> str:
    """A value for a message."""
    try:
        return repr(value)
    except (ValueError, RecursionError):  # an integer of too many digits, tables in tables in tables
        return f"a value of type {type(value).__name__} that is too large to be shown"
