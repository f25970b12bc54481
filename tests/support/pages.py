"""The pages of the documentation, taken apart."""

import re
from pathlib import Path

import attrs


@attrs.frozen
class Block:
    """A fenced block, and the one that shows what it prints."""

    language: str
    text: str
    printed: str


def blocks(path: Path) -> list[Block]:
    """The blocks of a Markdown file, each with the block of output that follows it at once."""
    fence = re.compile(r"^```(\w+)\n(.*?)^```\n(?:```(?:json|text)\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
    return [Block(*(part or "" for part in match.groups())) for match in fence.finditer(path.read_text())]
