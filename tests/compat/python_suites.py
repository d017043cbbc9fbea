"""Runs elasticsearch-py's own tests with a safe client, in a checkout of its repository.

Those of its DSL run once more with a plain client and through a gateway.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from gateways import listening
from node import LEVELS, PLAIN, POLICY
from report import print_reasons
from rich.console import Console
from rich.table import Table

from saferank.gateway.callers import Rights, add_key
from saferank.gateway.serve import make_gateway
from saferank.ranker import load_policy
from saferank.settings import GatewaySettings, Settings

__all__ = ["run_python_suites"]

# Hiding what has no score, strict would hide whatever these tests write.
_HELD = [level for level in LEVELS if level != "strict"]
_DSL = "test_elasticsearch/test_dsl/test_integration"
_TESTS = (
    _DSL,
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
    run = _Run(checkout, url, folder)
    plain = run.tests(PLAIN, _TESTS)
    counted = [name for name, end in plain.items() if end["end"] == "passed"]
    ends = {level: run.tests(level, counted) for level in _HELD}
    status = _show("elasticsearch-py's own tests", counted, ends, folder, console)
    dsl = [name for name in counted if name.startswith(_DSL)]
    with _gateway(url, folder) as (address, keys):
        through = {
            level: run.tests(
                level,
                dsl,
                suffix="-gateway",
                SAFERANK_COMPAT_GATEWAY=address,
                SAFERANK_COMPAT_KEY=keys[level],
            )
            for level in _HELD
        }
    return status | _show(
        "elasticsearch.dsl's own tests, through the gateway", dsl, through, folder, console
    )


@contextmanager
def _gateway(url: str, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of a gateway, and for each level the key of a caller who may write."""
    file = folder / "callers.toml"
    file.unlink(missing_ok=True)
    keys = {
        level: add_key(file, level, Rights(context={"requested": level}, writes=True))
        for level in _HELD
    }
    own = GatewaySettings(callers=file)
    gateway = make_gateway(Settings(elasticsearch_url=url, gateway=own), load_policy(POLICY))
    with listening(gateway, own) as port:
        yield f"http://127.0.0.1:{port}", keys


def _show(
    title: str, counted: list[str], ends: dict[str, _Ends], folder: Path, console: Console
) -> int:
    """Print how tests ended at each level, and list those that did not pass; the exit status."""
    table = Table("level", "tests", *_ENDS, title=title)
    for level, by_name in ends.items():
        counts = Counter(by_name.get(name, _MISSING)["end"] for name in counted)
        table.add_row(level, str(len(counted)), *(str(counts[end]) for end in _ENDS))
    console.print(table)
    bad = [
        (level, name, by_name.get(name, _MISSING))
        for level, by_name in ends.items()
        for name in counted
        if by_name.get(name, _MISSING)["end"] != "passed"
    ]
    reasons = [(level, f"{end['end']}: {end['reason']}") for level, _, end in bad]
    print_reasons("Not passed", reasons, _HELD, console)
    path = folder / f"{title.replace(' ', '-')}.txt"
    lines = (f"{level}: {name}\n    {end['end']}: {end['reason']}" for level, name, end in bad)
    path.write_text("\n\n".join(lines))
    console.print(f"{len(bad)} not passed: {path}")
    return 1 if any(end["end"] == "failed" for _, _, end in bad) else 0


class _Run(NamedTuple):
    """Runs tests of a checkout on a node."""

    checkout: Path
    url: str
    folder: Path

    def tests(self, level: str, tests: Sequence[str], suffix: str = "", **more: str) -> _Ends:
        """Run tests at one level; for each the end and the reason for it.

        Args:
            level: of the safe client, or ``PLAIN``.
            tests: as pytest takes them.
            suffix: of the files' names.
            more: of the environment.
        """
        name = f"elasticsearch-py-{level.replace(' ', '-')}{suffix}.json"
        results = self.folder / name
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
                cwd=self.checkout,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")]),
                    "ELASTICSEARCH_URL": self.url,
                    "SAFERANK_COMPAT_LEVEL": level,
                    "SAFERANK_COMPAT_RESULTS": str(results),
                    **more,
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if not results.exists():
            raise SystemExit(f"pytest did not run the tests of {self.checkout}; see {said}")
        noted: _Ends = json.loads(results.read_text())
        return {test: end if end["end"] in _ENDS else _MISSING for test, end in noted.items()}
