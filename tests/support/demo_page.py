"""The picture of the demo's page, and whether it is of the page as it is now."""

from __future__ import annotations

import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "images" / "demo.png"
_SOURCES = ("page.html", "page.py", "paint.py", "pictures.py", "policy.yaml", "search.py")


def sources_digest() -> str:
    """SHA-256, in hex, of all that decides how the page looks."""
    sources = [(ROOT / "saferank" / "demo" / name).read_bytes() for name in _SOURCES]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()
