"""Run tests with a private RabbitMQ as the broker instead of Valkey.

    python tests/faults/on_rabbitmq.py [PYTEST ARGUMENT ...]

Needs Debian's package ``rabbitmq-server``; its service need not run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import RabbitMq

# What one test looks at, only connections to Redis have.
OF_REDIS = "test_worker.py::test_asking_the_workers_leaves_no_reply_for_children_to_wait_for"
TESTS = ("test_worker.py", "test_index_backfill.py", "test_operation.py", "test_reindex.py")


def main() -> int:
    integration = Path(__file__).parent.parent / "integration"
    arguments = sys.argv[1:] or [str(integration / name) for name in TESTS]
    arguments.append(f"--deselect=tests/integration/{OF_REDIS}")
    with tempfile.TemporaryDirectory() as folder:
        broker = RabbitMq(Path(folder) / "rabbitmq")
        broker.start()
        print(f"RabbitMQ answers at {broker.url}", flush=True)
        try:
            return subprocess.run(
                [sys.executable, "-m", "pytest", *arguments],
                env={**os.environ, "SAFERANK_TEST_BROKER_URL": broker.url},
                check=False,
            ).returncode
        finally:
            broker.stop()


if __name__ == "__main__":
    sys.exit(main())
