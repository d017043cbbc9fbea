"""A private, single-node Elasticsearch: the server as published for integration tests.

That distribution is the real server without its optional modules (no scripts, no ``_reindex``,
no ingest pipelines); saferank needs none of them.
"""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from saferank.errors import ServiceUnavailable
from saferank.local.folders import cache_folder, give_to, unprivileged_user
from saferank.local.java import find_java_home
from saferank.local.processes import Service, base_environment, free_port

VERSION = "9.5.0"
DEFAULT_HEAP = "512m"

_ARTIFACT = f"org.elasticsearch.distribution.integ-test-zip:elasticsearch:{VERSION}:zip"
_DOWNLOAD_TIMEOUT = 1800
_START_TIMEOUT = 240


def start_node(
    folder: Path,
    *,
    heap: str = DEFAULT_HEAP,
    report: Callable[[str], None] = lambda _: None,
) -> Service:
    """Start a node whose configuration, data and logs are in ``folder``.

    Args:
        folder: made when missing; data found there are kept.
        heap: Java heap, for example ``512m`` or ``1g``.
        report: called with what is being done, for progress display.

    Raises:
        ServiceUnavailable: Java or Maven is missing, or the node did not start.
    """
    java_home = find_java_home()
    home = _distribution(report)
    port = free_port()
    _configure(folder, home, port=port, heap=heap)
    user = unprivileged_user()
    if user is not None:
        give_to(user, folder)
    report(f"starting Elasticsearch {VERSION}")
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
        find_url=lambda: f"http://127.0.0.1:{port}" if _is_healthy(port) else None,
        timeout=_START_TIMEOUT,
        user=user,
    )


def _configure(folder: Path, home: Path, *, port: int, heap: str) -> None:
    for name in ("data", "logs", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    config = folder / "config"
    shutil.copytree(home / "config", config, dirs_exist_ok=True)
    settings: dict[str, object] = {
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
    }
    lines = (f"{name}: {json.dumps(value)}\n" for name, value in settings.items())
    (config / "elasticsearch.yml").write_text("".join(lines))
    (config / "jvm.options.d" / "heap.options").write_text(f"-Xms{heap}\n-Xmx{heap}\n")


def _distribution(report: Callable[[str], None]) -> Path:
    """Return the unpacked server, downloaded with Maven the first time."""
    home = cache_folder() / f"elasticsearch-{VERSION}"
    if home.is_dir():
        return home
    maven = shutil.which("mvn")
    if maven is None:
        raise ServiceUnavailable(
            "the local Elasticsearch is downloaded with Maven, and there is no mvn on the path: "
            "install it, for example Debian's maven package"
        )
    # Unpacked beside its final place and moved there whole, so that a second start at the same
    # time, or one that was interrupted, never sees half of it.
    with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch_name:
        scratch = Path(scratch_name)
        report(f"downloading Elasticsearch {VERSION} (130 MB, once)")
        _download(maven, scratch)
        report("unpacking Elasticsearch")
        (archive,) = scratch.glob("*.zip")
        _unpack(archive, scratch)
        unpacked = scratch / home.name
        try:
            unpacked.rename(home)
        except OSError:
            if not home.is_dir():
                raise
    return home


def _download(maven: str, folder: Path) -> None:
    command = [
        maven,
        "--quiet",
        "--batch-mode",
        "dependency:copy",
        f"-Dartifact={_ARTIFACT}",
        f"-DoutputDirectory={folder}",
    ]
    try:
        subprocess.run(  # noqa: S603
            command,
            cwd=folder,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_DOWNLOAD_TIMEOUT,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = str(error.stdout or "").strip().splitlines()
        raise ServiceUnavailable(
            f"Maven could not download {_ARTIFACT}: {said[0] if said else error}; "
            "check the network and Maven's settings, then try again"
        ) from error


def _unpack(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as files:
        for entry in files.infolist():
            path = Path(files.extract(entry, folder))
            # zipfile drops the modes; the start scripts must stay executable.
            if mode := entry.external_attr >> 16 & 0o777:
                path.chmod(mode | 0o444)


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/_cluster/health?wait_for_status=yellow&timeout=1s")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
