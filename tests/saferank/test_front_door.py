"""What ``from saferank import …`` offers: the same to programs, type checkers and editors."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch

import saferank
from saferank import errors
from saferank.ranker.client import keywords
from saferank.ranker.client.client import AsyncSafeSearch, SafeSearch

ROOT = Path(__file__).parents[2]
# Keywords of the newest Elasticsearch client that are refused: not known to be safe, or shorthands
# for a 'suggest' in the address.
REFUSED = {
    "project_routing",
    "route_slice",
    "suggest_field",
    "suggest_mode",
    "suggest_size",
    "suggest_text",
}
CALLS = {
    "".join(part.title() for part in name.split("_")): name
    for name in [
        "bulk",
        "clear_scroll",
        "count",
        "exists",
        "exists_source",
        "explain",
        "get",
        "get_source",
        "mget",
        "msearch",
        "mtermvectors",
        "open_point_in_time",
        "scroll",
        "search",
        "search_template",
        "termvectors",
        "update",
    ]
}


def imported_for_type_checkers() -> dict[str, str]:
    """Name → module of the imports under ``if TYPE_CHECKING``."""
    tree = ast.parse(Path(saferank.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    return {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_programs_and_type_checkers_are_offered_the_same() -> None:
    assert imported_for_type_checkers() == saferank._PUBLIC
    assert sorted(saferank.__all__) == sorted(saferank._PUBLIC)
    assert set(saferank.__all__) <= set(dir(saferank))


@pytest.mark.parametrize("name", saferank.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(saferank, name) is not None


def test_a_missing_package_is_named_with_its_extra() -> None:
    program = """
import sys
sys.modules["celery"] = None
from saferank import SafeSearch
try:
    from saferank import queue_documents
except ModuleNotFoundError as error:
    print(error.name, "|", error)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert said.stdout == (
        "celery | saferank.queue_documents needs 'celery', which is not installed: "
        "pip install 'saferank[queue]'\n"
    ), said.stderr


def test_the_errors_that_users_catch_are_offered() -> None:
    of_models = {"ModelNotFound", "ModelFormatError", "UnsupportedLayer"}
    public = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert public - of_models <= set(saferank.__all__)


def test_an_unknown_name_is_said_to_be_none() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'SaveSearch'"):
        saferank.SaveSearch  # noqa: B018


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    program = "import sys, saferank; print([m for m in sys.modules if m.startswith('saferank.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("typed", "name"), CALLS.items())
def test_a_call_takes_the_keywords_of_the_elasticsearch_client(typed: str, name: str) -> None:
    ours = set(getattr(keywords, typed).__annotations__) - {"context"}
    theirs = set(inspect.signature(getattr(Elasticsearch, name)).parameters) - {"self"}
    asking_back = {"source", "source_includes", "source_excludes"} if typed in _WRITES else set()
    of_a_document_sent = {"doc"} if typed == "Termvectors" else set()
    assert theirs - ours - REFUSED == asking_back | of_a_document_sent
    assert ours - theirs == set()


_WRITES = {"Update", "Bulk"}


@pytest.mark.parametrize("kind", [SafeSearch, AsyncSafeSearch])
def test_a_live_object_shows_its_keywords(kind: type) -> None:
    client = kind(
        (Elasticsearch if kind is SafeSearch else AsyncElasticsearch)("http://localhost:1"),
        saferank.load_policy("version: 1\nlevels: {off: {}}\ncontexts: [{level: off}]\n"),
    )
    parameters = inspect.signature(client.search).parameters
    assert {"context", "index", "query", "knn", "size"} <= set(parameters)
    assert inspect.signature(client.get).parameters["id"].default is inspect.Parameter.empty
    assert client.search.__doc__ == "``client.search``."
