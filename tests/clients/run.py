"""Clients that other people wrote, through the gateway: what they see at three levels.

    python tests/clients/run.py [python javascript java go curl django hibernate ruby]

Needs npm, Go, Maven with Java 17 or newer, and Ruby (Debian: ruby-elasticsearch-model
ruby-activerecord ruby-sqlite3), each for the clients of its language; their packages come from the
registries, into build/clients. With ``SAFERANK_ENGINE=opensearch`` an OpenSearch is behind the
gateway, for the clients of either engine. At each level every program searches, pages, counts,
reads each document by its id, and makes a call that the gateway does not take. It prints a line of
JSON with what it saw. Here that is compared with what the level shows, and no word of a hidden
document may stand anywhere in what a client got.

Frameworks have an index of their own making: told to ``index``, such a program fills it, straight
in the engine, and prints its name; the safety fields are added to it here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from engines import start_node, use_engine  # noqa: E402
from gateways import SAFETY, SHOWN, Served, fill, marker, served  # noqa: E402

from saferank.local.folders import temporary_folder  # noqa: E402
from saferank.mappings import add_to_index  # noqa: E402

BUILD = ROOT / "build" / "clients"
INDEX = "test-gateway-clients"


def python() -> list[str]:
    """The program of the Python clients."""
    return [sys.executable, "-W", "ignore", str(HERE / "python_clients.py")]


def javascript() -> list[str]:
    """The same in JavaScript, with its packages installed."""
    return ["node", str(_copied("javascript", "npm", "install", "--silent") / "clients.mjs")]


def go() -> list[str]:
    """The same in Go, built."""
    folder = _copied("go", "go", "build", "-o", "clients", ".")
    return [str(folder / "clients")]


def java() -> list[str]:
    """The same in Java, with its packages at hand."""
    copy = ("dependency:copy-dependencies", "-DoutputDirectory=lib")
    folder = _copied("java", "mvn", "-q", "-B", *copy)
    return ["java", "-cp", str(folder / "lib" / "*"), str(folder / "Clients.java")]


def curl() -> list[str]:
    """The same with curl."""
    return ["bash", str(HERE / "curl.sh")]


def django() -> list[str]:
    """The same with models of Django, in an environment of its own."""
    environment = BUILD / "django"
    if not environment.is_dir():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    own = str(environment / "bin" / "python")
    quietly = ("-m", "pip", "install", "-qq", "--disable-pip-version-check")
    wanted = str(HERE / "django" / "requirements.txt")
    subprocess.run([own, *quietly, "--requirement", wanted], check=True)
    return [own, "-W", "ignore", str(HERE / "django" / "photos.py")]


def hibernate() -> list[str]:
    """The same with entities of Java."""
    copy = ("dependency:copy-dependencies", "-DoutputDirectory=lib")
    folder = _copied("hibernate", "mvn", "-q", "-B", *copy)
    # It looks entities up by their names, which takes a folder of classes.
    compiler = ["javac", "-cp", "lib/*", "-d", "classes", "Photos.java"]
    subprocess.run(compiler, cwd=folder, check=True)
    return ["java", "-cp", f"{folder / 'classes'}:{folder / 'lib' / '*'}", "Photos"]


def ruby() -> list[str]:
    """The same with Ruby, and with models of Rails."""
    return ["ruby", "-W0", str(HERE / "ruby" / "photos.rb")]


FRAMEWORKS = (django, hibernate, ruby)
PROGRAMS: dict[str, Callable[[], list[str]]] = {
    each.__name__: each for each in (python, javascript, java, go, curl, *FRAMEWORKS)
}


def _copied(language: str, *prepare: str) -> Path:
    """A copy of the sources, in which packages may be installed."""
    folder = BUILD / language
    shutil.copytree(HERE / language, folder, dirs_exist_ok=True)
    subprocess.run(prepare, cwd=folder, check=True)
    return folder


@contextmanager
def gateway() -> Iterator[tuple[Served, Elasticsearch, str]]:
    """A gateway before a filled index, a client that goes around it, and the engine's address."""
    with temporary_folder() as folder:
        url = os.environ.get("SAFERANK_TEST_ELASTICSEARCH_URL")
        node = None if url else start_node(folder / "node")
        try:
            url = url or (node.url if node else "")
            with Elasticsearch(url, request_timeout=60) as client:
                client.indices.delete(index=INDEX, ignore_unavailable=True)
                fill(client, INDEX)
                with served(url, folder, INDEX) as made:
                    yield made, client, url
                client.indices.delete(index=INDEX)
        finally:
            if node is not None:
                node.stop()


def add_safety(client: Elasticsearch, index: str) -> None:
    """Give the documents that a framework wrote what they are judged by."""
    add_to_index(client, index)
    for name, safety in SAFETY.items():
        client.update(index=index, id=name, doc={"safety": safety})
    client.indices.refresh(index=index)


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, and keep what it prints."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def fill_own(
    command: list[str], environment: dict[str, str], client: Elasticsearch
) -> subprocess.CompletedProcess[str] | None:
    """Have a framework fill its own index, and make that safe; what it ran where that failed."""
    filled = run([*command, "index"], environment)
    if filled.returncode:
        return filled
    add_safety(client, filled.stdout.strip())
    return None


def faults(seen: dict[str, Any], text: str) -> list[str]:
    """What is wrong with what a client saw at a level."""
    level = seen["level"]
    shown = SHOWN[level]
    wanted = {
        "search": sorted(shown),
        "pages": sorted(shown),
        "count": len(shown),
        "got": sorted(shown),
        "refused": 403,
    }
    wrong = [
        f"{key}: {seen[key]}, not {value}"
        for key, value in wanted.items()
        if key in seen and seen[key] != value
    ]
    wrong += [f"has the word of {name}" for name in SAFETY.keys() - shown if marker(name) in text]
    return wrong


def main(names: list[str]) -> int:
    """Run the programs and print a table; gives the exit code."""
    use_engine()
    commands = {name: PROGRAMS[name]() for name in names or PROGRAMS}
    table = Table("client", "level", "seen", "faults")
    lines = failed = 0
    with gateway() as (made, client, url):
        environment = {
            **os.environ,
            "GATEWAY": made.url,
            "ENGINE": url,
            "INDEX": made.index,
            "IDS": json.dumps(list(SAFETY)),
            "TITLES": json.dumps({name: f"cat {marker(name)}" for name in SAFETY}),
            "KEYS": json.dumps({level: made.keys[level] for level in SHOWN}),
        }
        for name, command in commands.items():
            own = PROGRAMS[name] in FRAMEWORKS
            filled = fill_own(command, environment, client) if own else None
            ran = run(command, environment) if filled is None else filled
            if ran.returncode:
                lines, failed = lines + 1, failed + 1
                told = f"ended with {ran.returncode}: {ran.stderr[-1500:]}"
                table.add_row(name, "", "", escape(told))
            for line in ran.stdout.splitlines():
                seen = json.loads(line)
                wrong = faults(seen, line + ran.stderr)
                lines, failed = lines + 1, failed + bool(wrong)
                checked = [key for key in seen if key not in ("client", "level", "text")]
                told = "; ".join(wrong) or "none"
                table.add_row(seen["client"], seen["level"], ", ".join(checked), told)
    Console(width=120).print(table)
    print(f"{lines - failed} passed, {failed} failed")
    return 1 if failed or not lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
