"""The reference of all settings, made from their definitions."""

from jsonrpcs_tx.config.settings import fields


def document() -> str:
    """The reference of all settings, in Markdown: docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Each is given as an option of `twistd jsonrpcs` (`--dgram-socket`), in a TOML file (`--config FILE`),",
        'in a line `modparam("jsonrpcs", "dgram_socket", ...)` of a kamailio.cfg (`--modparams FILE`, see',
        "[kamailio.md](kamailio.md)), or as an argument of `Settings`.",
        "An option takes precedence over `--config`, and that over `--modparams`.",
        "",
        "| setting | default | allowed | what it does |",
        "| --- | --- | --- | --- |",
    ]
    for field in fields():
        default = f"`{field.shown_default}`" if field.shown_default else ""
        several = "; several" if field.kind.several else ""
        lines.append(f"| `{field.name}` | {default} | {field.kind.allowed}{several} | {field.help} |")
    return "\n".join(lines) + "\n"
