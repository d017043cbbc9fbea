"""The page that operators read says what the code says."""

import re
from pathlib import Path

from saferank.errors import ErrorCode
from saferank.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs/reference/error-codes.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| `")
]


def test_every_code_is_explained_as_it_is_defined():
    defined = [
        [f"`{code.value}`", "yes" if code.transient else "no", code.meaning] for code in ErrorCode
    ]
    assert [row[:3] for row in ROWS] == defined


def test_every_code_says_what_to_do():
    assert all(len(row) == 4 and len(row[3]) > 10 for row in ROWS)


def test_the_settings_it_names_exist():
    named = set(re.findall(r"`(fetch|decode)\.(\w+)`", PAGE))
    assert named
    for group, name in named:
        assert name in type(getattr(Settings(), group)).model_fields
