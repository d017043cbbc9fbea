"""How Sphinx builds the documentation site: ``make docs``."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

project = "saferank"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

html_theme = "furo"
html_theme_options = {
    "light_css_variables": {
        "code-font-size": "0.77rem",
        "sidebar-item-spacing-vertical": "0.3rem",
    }
}
html_title = "saferank"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
smartquotes_action = "D"  # Dashes only: quotation marks stay as a shell wants them.

myst_heading_anchors = 3  # Links such as policy.md#contexts, as a forge makes them.

autodoc_member_order = "bysource"
napoleon_use_ivar = True  # A list of the attributes, without an entry for each.
maximum_signature_line_length = 80
python_use_unqualified_type_names = True


def setup(app: Sphinx) -> None:
    """Connect what is below to the build."""
    app.connect("source-read", _add_navigation)


def _add_navigation(_app: Sphinx, page: str, source: list[str]) -> None:
    """Make the lists of links on the index the navigation, so that pages are listed once."""
    if page == "index":
        sections = re.split(r"^(?=## )", source[0], flags=re.MULTILINE)
        source[0] = "\n".join(section + _toctree(section) for section in sections)


def _toctree(section: str) -> str:
    title = re.match(r"## (.+)", section)
    pages = re.findall(r"\]\(([\w/-]+)\.md\)", section)
    options = [":hidden:", *([f":caption: {title[1]}"] if title else [])]
    return "\n".join(["", "```{toctree}", *options, "", *pages, "```", ""])
