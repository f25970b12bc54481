"""The documentation site: Sphinx builds it from the Markdown pages of this directory, C{nox -s site} with the API
reference beside it.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

from jsonrpcs_tx import __version__

project = "jsonrpcs_tx"
version = release = __version__
extensions = ["myst_parser"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = f"jsonrpcs_tx {__version__}"
html_copy_source = False
html_show_copyright = False
nitpicky = True

_README = Path(__file__).parent.parent / "README.md"


def _read(_app: Sphinx, page: str, source: list[str]) -> None:
    """Show README.md in place of the page that only points to it, since Sphinx reads no pages outside this directory,
    and offer other pages outside it for download.
    """
    if page == "first-steps":
        text = re.sub(r"\]\((?!https?:|docs/)", "](../", _README.read_text())
        source[0] = text.replace("](docs/", "](").replace("# jsonrpcs_tx\n", "# First steps\n", 1)
    source[0] = source[0].replace("](../", "](path:../")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _read)
