"""Sends hybrid searches that other people wrote through the rewriter, at every level.

They are the examples of the engine's reference as elasticsearch-py's repository has them, and the
REST tests of the retrievers in the engine's own. The node of the tests lacks most of these
retrievers, so what would be sent is looked at: each of the searches that a retriever is made of has
to be without hidden documents, and all of it demoted once, outermost.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from node import POLICY
from report import print_reasons
from rich.console import Console
from rich.table import Table

from saferank import Decision, load_policy, rewrite_search
from saferank.errors import UnsafeRequest
from saferank.ranker.client.arguments import parse_request

__all__ = ["in_reference", "in_rest_tests", "run_examples"]

Json = dict[str, Any]
_CODE = re.compile(r"^\[source, python\]\n----\n(.*?)^----", re.MULTILINE | re.DOTALL)


def run_examples(bodies: Sequence[Json], title: str, console: Console) -> int:
    """Rewrite bodies and print how many each level takes.

    Args:
        bodies: of searches, each with a retriever.
        title: of the table.
        console: for the tables.

    Returns:
        The exit status: 1 when a search inside of one is unfiltered, or the factor is missing.
    """
    policy = load_policy(POLICY)
    table = Table("level", "searches", "safe", "refused", "unsafe", title=title)
    reasons, unsafe = [], 0
    for level in policy.levels:
        ends: Counter[str] = Counter()
        for body in bodies:
            try:
                ends[checked(body, policy.decision_for(level))] += 1
            except UnsafeRequest as refused:
                ends["refused"] += 1
                reasons.append((level, str(refused)))
        unsafe += ends["unsafe"]
        counts = (str(ends[end]) for end in ("safe", "refused", "unsafe"))
        table.add_row(level, str(len(bodies)), *counts)
    console.print(table)
    print_reasons("Refused", reasons, list(policy.levels), console)
    return 1 if unsafe or not bodies else 0


def in_reference(checkout: Path) -> Iterator[Json]:
    """Every search with a retriever in a checkout of elasticsearch-py, as its client sends it."""
    for path in sorted((checkout / "docs" / "examples").glob("*.asciidoc")):
        for code in _CODE.findall(path.read_text(encoding="utf-8")):
            for call in ast.walk(ast.parse(code)):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "client.search":
                    words = {word.arg: word.value for word in call.keywords if word.arg}
                    arguments = {name: ast.literal_eval(value) for name, value in words.items()}
                    if "retriever" in arguments:
                        yield parse_request(arguments).body


def in_rest_tests(checkout: Path) -> Iterator[Json]:
    """Every search with a retriever that the engine's own REST tests send and expect an answer to.

    Args:
        checkout: of elasticsearch, or of as much of it as is looked at.
    """
    for path in sorted(checkout.rglob("yamlRestTest/**/*.yml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            for steps in (document or {}).values():
                for step in steps or ():
                    do = step.get("do", {})
                    body = (do.get("search") or {}).get("body")
                    if "catch" not in do and isinstance(body, dict) and "retriever" in body:
                        yield body


def checked(body: Json, decision: Decision) -> str:
    """``safe`` where what would be sent shows no hidden document and is demoted once."""
    sent = rewrite_search(body, decision)
    parts = list(leaves(sent["retriever"])) if "retriever" in sent else [sent]
    excluded = str(decision.visible)[1:-1]
    hides = all(excluded in str(part) for part in parts)
    demoted = str(sent).count(str(decision.functions)) if decision.functions else 0
    return "safe" if hides and demoted == bool(decision.functions) else "unsafe"


def leaves(retriever: Json) -> Iterator[Json]:
    """The searches that a retriever is made of."""
    ((_, body),) = retriever.items()
    inside = [body["retriever"]] if "retriever" in body else body.get("retrievers")
    if not inside:
        yield body
        return
    for one in inside:
        yield from leaves(one.get("retriever", one))
