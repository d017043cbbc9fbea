"""Runs the same tests on every engine, and prints how many passed on each and what was left out.

    python tests/engines/run.py [ENGINE ...] [--only TEXT]

Elasticsearch 8 is tested with the Python client of version 8, which is fetched into ``build/``.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
CLIENT_8 = ROOT / "build" / "elasticsearch-8"
ENGINES: dict[str, dict[str, str]] = {
    "elasticsearch-9": {},
    "elasticsearch-8": {
        "SAFERANK_TEST_VERSION": "8.19.21",
        "PYTHONPATH": os.pathsep.join([str(CLIENT_8), os.environ.get("PYTHONPATH", "")]),
    },
    "opensearch": {"SAFERANK_ENGINE": "opensearch"},
}
SUITES = [
    f"tests/integration/test_{name}.py"
    for name in (
        "surfaces",
        "client",
        "completions",
        "suggestions",
        "suggested_words",
        "alias",
        "index_mapping",
        "index_scoring",
        "index_places",
        "index_backfill",
        "reindex",
        "overrides",
        "hybrid",
    )
]
OWN = {"opensearch": ["tests/engines/opensearch_client.py"]}
_COUNT = re.compile(r"(\d+) (passed|failed|errors?|deselected)\b")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help=", ".join(ENGINES))
    parser.add_argument("--only", default="", help="files with this in their names")
    arguments = parser.parse_args()
    table = Table("engine", "passed", "failed", "left out")
    status = 0
    for engine in arguments.engines or ENGINES:
        if engine == "elasticsearch-8":
            fetch_client_8()
        files = [file for file in SUITES + OWN.get(engine, []) if arguments.only in file]
        code, counts = run(ENGINES[engine], files)
        status |= code
        failed = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
        numbers = (counts.get("passed", 0), failed, counts.get("deselected", 0))
        table.add_row(engine, *map(str, numbers))
    Console().print(table)
    print("What is left out, and why: tests/support/engines.py")
    return status


def fetch_client_8() -> None:
    """Have the Python client of version 8 in a folder that comes before the installed one."""
    if not CLIENT_8.is_dir():
        packages = ["elasticsearch>=8.19,<9", "elastic-transport<9"]
        pip = [sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--target"]
        subprocess.run([*pip, str(CLIENT_8), *packages], check=True)


def run(environment: dict[str, str], files: list[str]) -> tuple[int, dict[str, int]]:
    """Run pytest on one engine; its exit code, and the counts of its last line."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", *files]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    ) as tests:
        last = ""
        for line in tests.stdout or ():
            print(line, end="", flush=True)
            last = line if line.strip() else last
    return tests.returncode, {name: int(count) for count, name in _COUNT.findall(last)}


if __name__ == "__main__":
    sys.exit(main())
