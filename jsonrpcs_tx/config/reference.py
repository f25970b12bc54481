"""The reference of all settings, made from their definitions."""

from jsonrpcs_tx.config.settings import grouped


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
        "`twistd jsonrpcs --example-config` prints a TOML file with all of them, `--check` says what is wrong with",
        "what is set, `--show-settings` what is in force and where it comes from: see [operations.md](operations.md).",
        "",
        "A mode is octal: `0660` as an option or a string, `0o660` as a number in TOML. A decimal number such as `660`",
        "is refused there, since it stands for other bits. Yes and no may also be `true` and `false`; as an option",
        "without a value, such as `--tls-self-signed`, it is yes.",
    ]
    for group, those in grouped():
        lines += ["", f"## {group}", "", "| setting | default | allowed | what it does |", "| --- | --- | --- | --- |"]
        for field in those:
            default = f"`{field.shown_default}`" if field.shown_default else ""
            several = "; several" if field.kind.several else ""
            lines.append(f"| `{field.name}` | {default} | {field.kind.allowed}{several} | {field.help} |")
    return "\n".join(lines) + "\n"
