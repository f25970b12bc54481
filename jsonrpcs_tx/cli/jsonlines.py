"""Values as JSON on one line, without what a terminal must not get. No I/O."""

from jsonrpcs_tx.client.documents import write


def json_line(value: object) -> str:
    """A value as JSON, with the end of the line. What is not printable is escaped, as JSON can."""
    written = write(value)
    return f"{written if written.isprintable() else _escaped(written)}\n"


def _escaped(written: str) -> str:
    """JSON in which no character is left that is not printable."""
    units = []
    for character in written:
        if character.isprintable():
            units.append(character)
        else:
            pair = character.encode("utf-16-be", "surrogatepass")
            units += [f"\\u{pair[at : at + 2].hex()}" for at in range(0, len(pair), 2)]
    return "".join(units)
