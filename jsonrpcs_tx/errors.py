"""What the package raises. Each error says what was wrong, where, and what is allowed."""


class JsonRpcsError(Exception):
    """The base class of the errors that the package raises."""


class StartError(JsonRpcsError):
    """A server cannot start with a setting, or cannot take on the new contents of a file that a setting names.

    @param setting: its name.
    @param value: of the setting, or the path or address that it stands for.
    @param reason: what is wrong, in words.
    @param allowed: what is allowed, in words.
    @param consequence: what follows in a running server, in words.
    """

    def __init__(
        self,
        setting: str,
        value: object,
        reason: object,
        allowed: str,
        consequence: str = "the former ones stay",
    ) -> None:
        super().__init__(setting, value, reason, allowed)
        self.setting = setting
        self.value = value
        self.reason = reason
        self.allowed = allowed
        self.consequence = consequence

    def __str__(self) -> str:
        return f"{self.setting}: {self.value}: {self.reason}; allowed: {self.allowed}"


class SettingError(JsonRpcsError, ValueError):
    """A setting has a value that is not allowed.

    @param name: of the setting.
    @param value: as it was given.
    @param allowed: what is allowed, in words.
    """

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(name, value, allowed)
        self.name = name
        self.value = value
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{self.name}: {_shown(self.value)} is not allowed; allowed: {self.allowed}"


class NotAllowed(JsonRpcsError, ValueError):
    """A file, or something in one, or a value, is not what it has to be.

    @param reason: what is wrong, and where, in words.
    @param allowed: what is allowed, in words.
    """

    def __init__(self, reason: str, allowed: str) -> None:
        super().__init__(reason, allowed)
        self.reason = reason
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{self.reason}; allowed: {self.allowed}"


def _shown(value: object) -> str:
    """A value for a message."""
    try:
        return repr(value)
    except (ValueError, RecursionError):  # an integer of too many digits, deeply nested tables
        return f"a value of type {type(value).__name__} that is too large to be shown"
