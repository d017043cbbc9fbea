"""Runs the public REST tests of the engine in worlds with and without twins, and compares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from compare import Reference, Verdict, compare
from elasticsearch import Elasticsearch
from node import LEVELS, PLAIN, POLICY, prepare
from play import READS, Asked, Outcome, Outcomes, play
from report import Judgement, report
from rich.console import Console
from rich.progress import track
from suites import Group, load_groups
from twins import World, Writer, twins

from saferank.ranker import Policy, SafeSearch, load_policy

__all__ = ["run_rest_suites"]

HIDING = [level for level in LEVELS if level != "off"]
BANDED = "moderate"
SCORED = {"probability": 0.01}
# Perhaps because of relevance, which the third world is for.
DOUBTFUL = (Verdict.DIFFERENT, Verdict.LEAKING)


def run_rest_suites(url: str, only: str, folder: Path, console: Console) -> int:
    """Run the tests and print what was found.

    Args:
        url: of the node.
        only: run the files whose path has this in it.
        folder: for the lists.
        console: for progress and tables.

    Returns:
        The exit status; see ``report``.
    """
    groups = [group for group in load_groups(READS) if only in group.file]
    judgements = [
        judgement
        for group in track(groups, "REST suites", console=console)
        for judgement in judge(group, url)
    ]
    return report(judgements, PLAIN, folder, console)


def judge(group: Group, url: str) -> list[Judgement]:
    """Run a group of tests in each world, and compare."""
    policy = load_policy(POLICY)
    alone = run(group, url, World.ALONE, policy, ["off"])
    beside = run(group, url, World.TWIN_HIDDEN, policy, HIDING)
    judgements = list(compared(alone, alone, beside))
    if any(item.level != PLAIN and item.verdict in DOUBTFUL for item in judgements):
        deleted = run(group, url, World.TWIN_DELETED, policy, [])
        judgements = list(compared(alone, deleted, beside))
    return judgements


def compared(alone: Outcomes, deleted: Outcomes, beside: Outcomes) -> Iterator[Judgement]:
    """Judge the safe clients, and the plain one where there are twins.

    Off nothing is hidden, so that level is compared where there are none.
    """
    for asked, outcomes in alone.items():
        plain = outcomes[PLAIN]
        if not asked.of_twin:
            same = Reference(plain, plain, plain)
            yield judgement(asked, "off", outcomes["off"], same)
        reference = Reference(plain, deleted[asked][PLAIN], beside[asked][PLAIN])
        for level, outcome in beside[asked].items():
            yield judgement(asked, level, outcome, reference)


def judgement(asked: Asked, level: str, outcome: Outcome, reference: Reference) -> Judgement:
    verdict, differences = compare(asked, outcome, reference, banded=level == BANDED)
    return Judgement(asked, level, verdict, outcome, reference.alone, differences)


def run(group: Group, url: str, world: World, policy: Policy, levels: Sequence[str]) -> Outcomes:
    """Run a group of tests in one world."""
    transport = twins(Writer(world, SCORED))
    with Elasticsearch(url, request_timeout=60, transport_class=transport) as node:
        safe = {level: SafeSearch(node, policy, level=level) for level in levels}
        try:
            return play(group, node, {PLAIN: node, **safe})
        finally:
            clean(node, group)


def clean(node: Elasticsearch, group: Group) -> None:
    """Delete whatever a group of tests has made."""
    steps = [*group.setup, *(step for case in group.cases for step in case.steps)]
    calls = {call for step in steps for call in step.get("do", ())}
    if "indices.put_settings" in calls:
        writable = {"index.blocks.read_only": False}
        node.options(ignore_status=404).indices.put_settings(index="*", settings=writable)
    node.indices.delete(index="*", expand_wildcards="all")
    settings = "cluster.put_settings" in calls
    templates = any("template" in call for call in calls)
    if settings:
        node.cluster.put_settings(persistent={"*": None}, transient={"*": None})
    if templates:
        node.indices.delete_template(name="*")
        node.indices.delete_index_template(name="*")
        node.cluster.delete_component_template(name="*")
    if settings or templates:
        prepare(node)
