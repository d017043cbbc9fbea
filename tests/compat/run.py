"""Compares safe clients with plain ones on the public tests of the engine and of its client.

    python tests/compat/run.py [--elasticsearch-py CHECKOUT] [--elasticsearch CHECKOUT]
        [--folder FOLDER] [--only TEXT]

It needs ``tests/support`` in the ``PYTHONPATH``, as ``make test-compat`` has it. How it compares,
and how to read the tables: ``docs/explanation/ranker-tests.md``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

from node import private_node
from python_suites import run_python_suites
from reference_examples import in_reference, in_rest_tests, run_examples
from rest_suites import run_rest_suites
from rich.console import Console

NO_CHECKOUT = (
    "elasticsearch-py's own tests were left out: clone https://github.com/elastic/elasticsearch-py "
    "and give the folder, as in 'make test-compat ELASTICSEARCH_PY=FOLDER'."
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elasticsearch-py", type=Path, help="a checkout, to run its tests too")
    parser.add_argument("--elasticsearch", type=Path, help="a checkout, to rewrite its retrievers")
    parser.add_argument("--folder", type=Path, help="for the lists, otherwise a temporary one")
    parser.add_argument("--only", default="", help="REST tests of files with this in their path")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="saferank-compat-"))
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(width=130)
    warnings.simplefilter("ignore")  # Of the engine, about what the tests do.
    with private_node() as url:
        status = run_rest_suites(url, arguments.only, folder, console)
        if arguments.elasticsearch_py is None:
            console.print(NO_CHECKOUT)
        else:
            checkout = arguments.elasticsearch_py.resolve()
            examples = list(in_reference(checkout))
            status |= run_examples(examples, "Hybrid searches of the reference", console)
            status |= run_python_suites(checkout, url, folder, console)
        if arguments.elasticsearch is not None:
            tests = list(in_rest_tests(arguments.elasticsearch.resolve()))
            status |= run_examples(tests, "Hybrid searches of the REST tests", console)
    return status


if __name__ == "__main__":
    sys.exit(main())
