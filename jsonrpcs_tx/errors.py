"""What the package raises. Each error says what was wrong, where, and what is allowed."""

import re


class JsonRpcsError(Exception):
    """The base class of the errors that the package raises.

    @ivar file: the path of the file that the mistake is in; None if it is not known to be in one.
    @ivar line: the number of the line in that file, counted from 1; None if it is not in a single line.
    """

    file: str | None = None
    line: int | None = None

    @property
    def explanation(self) -> str:
        """What is wrong and what is allowed, without the file and the line."""
        return str(self)


class StartError(JsonRpcsError):
    """A server cannot start with a setting, or cannot take on the new contents of a file that a setting names.

    @param setting: its name.
    @param value: of the setting, or the path or address that it stands for.
    @param reason: what is wrong, in words.
    @param allowed: what is allowed, in words.
    @param line: the line with the mistake, if the value is the path of a file and the mistake is in one of its lines.
    @param consequence: what follows in a running server, in words.
    """

    def __init__(
        self,
        setting: str,
        value: object,
        reason: object,
        allowed: str,
        line: int | None = None,
        consequence: str = "the former ones stay",
    ) -> None:
        super().__init__(setting, value, reason, allowed)
        self.setting = setting
        self.value = value
        self.reason = reason
        self.allowed = allowed
        self.consequence = consequence
        self.line = line
        self.file: str | None = None if line is None else str(value)

    def __str__(self) -> str:
        line = "" if self.line is None else f"line {self.line}: "
        return f"{self.setting}: {self.value}: {line}{self.reason}; allowed: {self.allowed}"

    @property
    def explanation(self) -> str:
        return str(self) if self.line is None else f"{self.setting}: {self.reason}; allowed: {self.allowed}"


class SettingError(JsonRpcsError, ValueError):
    """A setting has a value that is not allowed.

    @param name: of the setting.
    @param value: as it was given.
    @param allowed: what is allowed, in words.
    @param meant: what was probably meant; empty: unknown.
    """

    def __init__(self, name: str, value: object, allowed: str, meant: str = "") -> None:
        super().__init__(name, value, allowed)
        self.name = name
        self.value = value
        self.allowed = allowed
        self.meant = meant

    def __str__(self) -> str:
        meant = f"; did you mean {self.meant}?" if self.meant else ""
        return f"{self.name}: {_shown(self.value)} is not allowed; allowed: {self.allowed}{meant}"


class UnknownSetting(SettingError):
    """There is no setting of a name.

    @param meant: the name of the setting that was probably meant; empty: no name is similar.
    """

    def __init__(self, name: str, value: object, meant: str = "") -> None:
        super().__init__(name, value, "the settings in docs/settings.md", meant)

    def __str__(self) -> str:
        return f"{self.name:.100}: no such setting; " + (
            f"did you mean {self.meant}?" if self.meant else f"allowed: {self.allowed}"
        )


class NotAllowed(JsonRpcsError, ValueError):
    """A file, or something in one, or a value, is not what it has to be.

    @param reason: what is wrong, in words.
    @param allowed: what is allowed, in words.
    @param file: the path of the file that it is in, if that is known.
    @param line: the line of the file, if the mistake is in a single line.
    """

    def __init__(self, reason: str, allowed: str, file: str | None = None, line: int | None = None) -> None:
        super().__init__(reason, allowed)
        self.reason = reason
        self.allowed = allowed
        self.file = file
        self.line = line

    def __str__(self) -> str:
        file = "" if self.file is None else f"{self.file}: "
        line = "" if self.line is None else f"line {self.line}: "
        return file + line + self.explanation

    @property
    def explanation(self) -> str:
        return f"{self.reason}; allowed: {self.allowed}"


class ConfigError(NotAllowed):
    """A file of settings cannot be used."""


def without_passwords(text: str) -> str:
    """A text with C{***} in place of the passwords in its URLs."""
    return re.sub("(//[^/:@]*):.*@", r"\1:***@", text, flags=re.DOTALL)


def _shown(value: object) -> str:
    """A value for a message."""
    try:
        return without_passwords(repr(value))
    except (ValueError, RecursionError):  # an integer of too many digits, deeply nested tables
        return f"a value of type {type(value).__name__} that is too large to be shown"
