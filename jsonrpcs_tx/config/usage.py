"""What ``--help`` prints, and an example of a configuration file: both made from the definitions of the settings."""

import textwrap
from collections.abc import Iterable, Iterator

from jsonrpcs_tx.config.settings import Field, grouped
from jsonrpcs_tx.config.toml import write_value

_EXAMPLE = """\
Settings of jsonrpcs_tx: twistd jsonrpcs --config FILE

Every setting is here with its default. Remove the "# " before those that you change. Only the transports whose
addresses are set are then opened, unless transport says which; the default is a FIFO and a Unix datagram socket.

twistd jsonrpcs --config FILE --check          says what is wrong, and opens nothing
twistd jsonrpcs --config FILE --show-settings  prints what is in force, and where it comes from
"""


def usage(own: Iterable[tuple[str, str]], width: int) -> str:
    """The options with their help, in groups.

    @param own: the options that are not settings, each with its help.
    @param width: characters of a line.
    """
    lines = ["What to do:", *(line for option, help in own for line in _option(option, help, width))]
    for group, those in grouped():
        lines += ["", f"{group}:"]
        for field in those:
            name = f"--{field.option}{'[=no]' if field.kind.flag else '='}"
            lines += _option(name, f"{field.help} [default: {field.kind.show(field.daemon)}]", width)
    return "\n".join(lines)


def _option(option: str, help: str, width: int) -> Iterator[str]:
    indent = " " * 6
    yield f"  {option}"
    yield from textwrap.wrap(
        help, max(width, 40) - 1, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def example() -> str:
    """A TOML file with every setting, its help and its default, each commented out."""
    lines = [*_comment(_EXAMPLE)]
    for group, those in grouped():
        lines += ["", f"## {group}"]
        for field in those:
            lines += ["", *_describe(field), f"# {field.name} = {write_value(field.daemon, field.kind)}"]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> Iterator[str]:
    return (f"## {line}".rstrip() for line in text.splitlines())


def _describe(field: Field) -> Iterator[str]:
    for text in (field.help, f"Allowed: {field.kind.allowed}."):
        yield from textwrap.wrap(text, 110, initial_indent="## ", subsequent_indent="## ", break_long_words=False)
