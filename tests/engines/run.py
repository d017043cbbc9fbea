"""Runs the same tests on every engine, and prints how many passed on each and what was left out.

    python tests/engines/run.py [ENGINE ...] [--suites NAME ...]

Elasticsearch 8 is tested with the Python client of version 8, which is fetched into ``build/``. An
engine has one node for all of its suites; a part of them is a run by itself.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from saferank.local import elasticsearch, opensearch
from saferank.local.folders import temporary_folder

ROOT = Path(__file__).parents[2]
CLIENT_8 = ROOT / "build" / "elasticsearch-8"
VERSIONS = {
    "elasticsearch-9": elasticsearch.VERSION,
    "elasticsearch-8": "8.19.21",
    "opensearch-3": opensearch.VERSION,
    "opensearch-2": "2.19.1",
}
SUITES = {
    name: f"tests/integration/test_{name}.py"
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
}
OPENSEARCH_CLIENT = {"opensearch_client": "tests/engines/opensearch_client.py"}
_ENDS = ("passed", "failed", "left out")
_COUNT = re.compile(r"(\d+) (passed|failed|error|deselected)s?\b")
_NAMES = {"error": "failed", "deselected": "left out"}
_LEFT_OUT = re.compile(r"left out: (\d+), since (.+)")


class Result(NamedTuple):
    """What became of the tests of one suite on one engine.

    Attributes:
        ends: how many ended how.
        reasons: why some were left out.
        seconds: that it took.
    """

    ends: Counter[str]
    reasons: Counter[str]
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help=", ".join(VERSIONS))
    known = {**SUITES, **OPENSEARCH_CLIENT}
    parser.add_argument("--suites", nargs="*", metavar="NAME", help=", ".join(known))
    arguments = parser.parse_args()
    names = arguments.suites or known
    if unknown := [*({*arguments.engines} - {*VERSIONS}), *({*names} - {*known})]:
        parser.error(f"there is no engine or suite {', '.join(unknown)}")
    console = Console(width=110)
    status = 0
    for engine in arguments.engines or VERSIONS:
        of_it = {**SUITES, **(OPENSEARCH_CLIENT if engine.startswith("opensearch") else {})}
        results = run(engine, {name: of_it[name] for name in names if name in of_it})
        status |= show(engine, results, console)
    return status


def run(engine: str, suites: dict[str, str]) -> dict[str, Result]:
    """Run suites on a node of an engine."""
    environment = {**os.environ, "SAFERANK_TEST_VERSION": VERSIONS[engine]}
    if engine == "elasticsearch-8":
        fetch_client_8()
        before = [str(CLIENT_8), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(before)
    local = opensearch if engine.startswith("opensearch") else elasticsearch
    environment["SAFERANK_ENGINE"] = local.__name__.rpartition(".")[2]
    with temporary_folder() as folder:
        node = local.start_node(folder, version=VERSIONS[engine])
        environment["SAFERANK_TEST_ELASTICSEARCH_URL"] = node.url
        try:
            return {name: run_suite(file, environment) for name, file in suites.items()}
        finally:
            node.stop()


def fetch_client_8() -> None:
    """Have the Python client of version 8 in a folder that comes before the installed one."""
    if not CLIENT_8.is_dir():
        packages = ["elasticsearch>=8.19,<9", "elastic-transport<9"]
        pip = [sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--target"]
        subprocess.run([*pip, str(CLIENT_8), *packages], check=True)


def run_suite(file: str, environment: dict[str, str]) -> Result:
    """Run the tests of one file; what does not even start counts as one that failed."""
    command = [sys.executable, "-m", "pytest", "--tb=short", file]
    ends, reasons, last = Counter[str](), Counter[str](), ""
    began = time.monotonic()
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as tests:
        for line in tests.stdout or ():
            print(line, end="", flush=True)
            last = line if line.strip() else last
            if found := _LEFT_OUT.match(line):
                reasons[found[2]] += int(found[1])
    for count, name in _COUNT.findall(last):
        ends[_NAMES.get(name, name)] += int(count)
    nothing_to_do = tests.returncode == 5 and ends["left out"] > 0
    if tests.returncode and not nothing_to_do and not ends["failed"]:
        ends["failed"] += 1
    return Result(ends, reasons, time.monotonic() - began)


def show(engine: str, results: dict[str, Result], console: Console) -> int:
    """Print what became of the tests; the exit status."""
    title = f"{engine}: {VERSIONS[engine]}"
    table = Table("suite", *_ENDS, "seconds", title=title, title_justify="left")
    ends = sum((result.ends for result in results.values()), Counter[str]())
    for name, result in results.items():
        counts = (str(result.ends[end]) for end in _ENDS)
        table.add_row(name, *counts, f"{result.seconds:.0f}")
    seconds = sum(result.seconds for result in results.values())
    table.add_row("together", *(str(ends[end]) for end in _ENDS), f"{seconds:.0f}")
    console.print(table)
    reasons = sum((result.reasons for result in results.values()), Counter[str]())
    for reason, count in reasons.most_common():
        console.print(f"left out: {count}, since {reason}")
    return 1 if ends["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
