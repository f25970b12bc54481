"""The files of the page: everything in the directory C{assets} whose kind is known."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import attrs

DIRECTORY: Final = Path(__file__).with_name("assets")

PAGE: Final = "index.html"
"""The page itself."""

TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
        ".png": "image/png",
    }
)
"""The types of files by the end of their names; other files are not served."""


@attrs.frozen
class Asset:
    """A file of the page.

    @ivar type: for the header Content-Type.
    @ivar body: what is in it.
    @ivar tag: a digest of that, for the header ETag, in quotes.
    """

    type: bytes
    body: bytes
    tag: bytes


def read_assets(directory: Path = DIRECTORY) -> dict[bytes, Asset]:
    """Read the files of a directory, by name.

    @raise OSError: one cannot be read.
    """
    return {
        path.name.encode(): _asset(TYPES[path.suffix], path.read_bytes())
        for path in sorted(directory.iterdir())
        if path.suffix in TYPES and path.is_file()
    }


def _asset(kind: str, body: bytes) -> Asset:
    digest = hashlib.blake2b(body, digest_size=16).hexdigest()
    return Asset(kind.encode(), body, f'"{digest}"'.encode())
