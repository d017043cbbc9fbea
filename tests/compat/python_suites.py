"""Runs elasticsearch-py's own tests with a safe client, in a checkout of its repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from node import LEVELS, PLAIN
from report import print_reasons
from rich.console import Console
from rich.table import Table

__all__ = ["run_python_suites"]

# Hiding what has no score, strict would hide whatever these tests write.
_HELD = [level for level in LEVELS if level != "strict"]
_TESTS = (
    "test_elasticsearch/test_dsl/test_integration",
    "test_elasticsearch/test_server",
    "test_elasticsearch/test_async/test_server",
)
# It downloads tests of the engine, and sends them by path instead of by the client's methods.
_LEFT_OUT = "test_rest_api_spec.py"
_ENDS = ("passed", "refused", "failed")

_MISSING = {"end": "failed", "reason": "it was skipped"}

_Ends = dict[str, dict[str, str]]


def run_python_suites(checkout: Path, url: str, folder: Path, console: Console) -> int:
    """Run the tests at each level, and print how those ended that pass with the plain client.

    Args:
        checkout: of elasticsearch-py.
        url: of the node.
        folder: for a list of the tests that did not pass, and for what pytest says.
        console: for the tables.

    Returns:
        The exit status: 1 when one of them fails.
    """
    plain = _run(PLAIN, _TESTS, checkout, url, folder)
    counted = [name for name, end in plain.items() if end["end"] == "passed"]
    ends = {
        level: dict.fromkeys(counted, _MISSING) | _run(level, counted, checkout, url, folder)
        for level in _HELD
    }
    table = Table("level", "tests", *_ENDS, title="elasticsearch-py's own tests")
    for level, by_name in ends.items():
        counts = Counter(by_name[name]["end"] for name in counted)
        table.add_row(level, str(len(counted)), *(str(counts[end]) for end in _ENDS))
    console.print(table)
    bad = [
        (level, name, by_name[name])
        for level, by_name in ends.items()
        for name in counted
        if by_name[name]["end"] != "passed"
    ]
    reasons = [(level, f"{end['end']}: {end['reason']}") for level, _, end in bad]
    print_reasons("Not passed", reasons, _HELD, console)
    path = folder / "elasticsearch-py.txt"
    lines = (f"{level}: {name}\n    {end['end']}: {end['reason']}" for level, name, end in bad)
    path.write_text("\n\n".join(lines))
    console.print(f"{len(bad)} not passed: {path}")
    return 1 if any(end["end"] == "failed" for _, _, end in bad) else 0


def _run(level: str, tests: Sequence[str], checkout: Path, url: str, folder: Path) -> _Ends:
    """Run tests at one level; for each the end and the reason for it."""
    results = folder / f"elasticsearch-py-{level.replace(' ', '-')}.json"
    results.unlink(missing_ok=True)
    said = results.with_suffix(".log")
    here = Path(__file__).parent
    with said.open("w") as output:
        subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "--quiet", "--tb=short"),
                *("-p", "no:cacheprovider", "-p", "python_plugin"),
                *(f"--ignore-glob=*/{_LEFT_OUT}", *tests),
            ],
            cwd=checkout,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")]),
                "ELASTICSEARCH_URL": url,
                "SAFERANK_COMPAT_LEVEL": level,
                "SAFERANK_COMPAT_RESULTS": str(results),
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if not results.exists():
        raise SystemExit(f"pytest did not run the tests of {checkout}; see {said}")
    noted: _Ends = json.loads(results.read_text())
    return {name: end if end["end"] in _ENDS else _MISSING for name, end in noted.items()}
