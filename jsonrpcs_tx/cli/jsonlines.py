"""Writes values as JSON on one line, in printable characters only. No I/O."""

from jsonrpcs_tx.client.documents import write


def json_line(value: object) -> str:
    """A value as JSON, with the end of the line. Characters that are not printable are escaped."""
    written = write(value)
    return f"{written if written.isprintable() else _escaped(written)}\n"


def _escaped(written: str) -> str:
    """JSON with all characters escaped that are not printable."""
    units = []
    for character in written:
        if character.isprintable():
            units.append(character)
        else:
            pair = character.encode("utf-16-be", "surrogatepass")
            units += [f"\\u{pair[at : at + 2].hex()}" for at in range(0, len(pair), 2)]
    return "".join(units)
