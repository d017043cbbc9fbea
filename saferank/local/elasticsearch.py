"""A private, single-node Elasticsearch: the server as published for integration tests.

That distribution is the real server without its optional modules (no scripts, no ``_reindex``,
no ingest pipelines); saferank needs none of them.
"""

from __future__ import annotations

import http.client
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from saferank.local import maven
from saferank.local.folders import give_to, unprivileged_user
from saferank.local.java import find_java_home
from saferank.local.processes import Service, base_environment, free_port

VERSION = "9.5.0"
DEFAULT_HEAP = "512m"

_ARTIFACT = "org.elasticsearch.distribution.integ-test-zip:elasticsearch"
# Half a minute on an idle machine; one that also runs tests takes minutes.
START_TIMEOUT = 600


def start_node(
    folder: Path,
    *,
    version: str = VERSION,
    heap: str = DEFAULT_HEAP,
    port: int | None = None,
    settings: Mapping[str, object] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Service:
    """Start a node whose configuration, data and logs are in ``folder``.

    Args:
        folder: made when missing; data found there are kept.
        version: one that is published, from 8.18 on.
        heap: Java heap, for example ``512m`` or ``1g``.
        port: of its HTTP interface; a free one when left out.
        settings: of the node (``elasticsearch.yml``), beside or in place of those set here.
        report: called with what is being done, for progress display.

    Raises:
        ServiceUnavailable: Java or Maven is missing, or the node did not start.
    """
    java_home = find_java_home()
    home = _distribution(version, report)
    port = free_port() if port is None else port
    _configure(folder, home, port=port, heap=heap, settings=settings or {})
    user = unprivileged_user()
    if user is not None:
        give_to(user, folder)
    report(f"starting Elasticsearch {version}")
    return Service.start(
        "Elasticsearch",
        [home / "bin" / "elasticsearch"],
        folder=folder,
        environment={
            **base_environment(),
            "ES_JAVA_HOME": str(java_home),
            "ES_PATH_CONF": str(folder / "config"),
            "ES_TMPDIR": str(folder / "tmp"),
        },
        find_url=lambda: f"http://127.0.0.1:{port}" if is_healthy(port) else None,
        timeout=START_TIMEOUT,
        user=user,
    )


def _configure(
    folder: Path, home: Path, *, port: int, heap: str, settings: Mapping[str, object]
) -> None:
    for name in ("data", "logs", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    config = folder / "config"
    shutil.copytree(home / "config", config, dirs_exist_ok=True)
    lines: dict[str, object] = {
        "cluster.name": "saferank-local",
        "discovery.type": "single-node",
        "network.host": "127.0.0.1",
        "http.port": port,
        "transport.port": 0,
        "path.data": str(folder / "data"),
        "path.logs": str(folder / "logs"),
        "xpack.security.enabled": False,
        # A nearly full disk of a developer must not turn indices read-only.
        "cluster.routing.allocation.disk.threshold_enabled": False,
        **settings,
    }
    text = "".join(f"{name}: {json.dumps(value)}\n" for name, value in lines.items())
    (config / "elasticsearch.yml").write_text(text)
    (config / "jvm.options.d" / "heap.options").write_text(f"-Xms{heap}\n-Xmx{heap}\n")


def _distribution(version: str, report: Callable[[str], None]) -> Path:
    """The unpacked server, downloaded with Maven the first time."""
    name = f"elasticsearch-{version}"

    def fetch(scratch: Path) -> Path:
        report(f"downloading Elasticsearch {version} (130 MB, once)")
        artifact = f"-Dartifact={_ARTIFACT}:{version}:zip"
        target = f"-DoutputDirectory={scratch}"
        maven.run("the local Elasticsearch", scratch, "dependency:copy", artifact, target)
        report("unpacking Elasticsearch")
        (archive,) = scratch.glob("*.zip")
        _unpack(archive, scratch)
        return scratch / name

    return maven.kept(name, fetch)


def _unpack(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as files:
        for entry in files.infolist():
            path = Path(files.extract(entry, folder))
            # zipfile drops the modes; the start scripts must stay executable.
            if mode := entry.external_attr >> 16 & 0o777:
                path.chmod(mode | 0o444)


def is_healthy(port: int) -> bool:
    """Whether an engine of either kind answers on a local port, and can search."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/_cluster/health?wait_for_status=yellow&timeout=1s")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
