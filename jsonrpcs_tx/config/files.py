"""Settings from TOML files of our own."""

import tomllib
from typing import Any

from jsonrpcs_tx.errors import NotAllowed


class ConfigError(NotAllowed):
    """A file of settings cannot be used; C{reason} names the file, the line and what was wrong."""


def read_toml(path: str) -> dict[str, Any]:
    """The values of a TOML file, by the names of settings.

    @raise ConfigError: it cannot be read, or is not TOML.
    """
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"config: {path}: {error.strerror}", "a readable TOML file") from None
    except (ValueError, RecursionError) as error:  # not only TOMLDecodeError: too many digits, too deep
        raise ConfigError(f"config: {path}: {error}", "TOML, name = value") from None
