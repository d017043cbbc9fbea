"""Completions of visible documents, by asking for more of them than are wanted.

No query filters a completion, but each says of which document it is. So those of hidden documents
are taken out here, and more are asked for until as many as are wanted are left, or there are no
more. What is left depends on visible documents alone. The score of a completion is its weight; that
of a demoted document is multiplied by its factor. None further down can have a higher score than
the last one looked at, which is how far down it has to be looked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from elastic_transport import ObjectApiResponse

from saferank.engines.opensearch import LEAST_TERMINATE_AFTER
from saferank.ranker.bodies import LISTS, Json, a_count, names
from saferank.ranker.client.arguments import Request, parse_request
from saferank.ranker.client.flow import (
    Call,
    Knowledge,
    Plan,
    call_checked,
    check_fields,
    not_blocked_elsewhere,
)
from saferank.ranker.client.judging import hides, judgements
from saferank.ranker.hits import KEY
from saferank.ranker.level.decision import Decision
from saferank.ranker.rerank import put_in_order
from saferank.ranker.rewrite.suggest import check_completions

P = ParamSpec("P")
_Searching = Callable[Concatenate[Decision, Knowledge, P], Plan[ObjectApiResponse[Any]]]

MOST = 1000
"""Most completions looked at."""
_DEFAULT_SIZE = 5
# Parameters of a search that say where completions are to be found.
_WHERE = names(
    """
    allow_no_indices allow_partial_search_results expand_wildcards ignore_throttled
    ignore_unavailable index preference routing typed_keys
    """
)


def completing(plan: _Searching[P]) -> _Searching[P]:
    """The plan of a search, that also takes completions where documents are hidden."""

    @wraps(plan)
    def searching(
        decision: Decision, knowledge: Knowledge, /, *args: P.args, **arguments: P.kwargs
    ) -> Plan[ObjectApiResponse[Any]]:
        rest, suggest = apart(arguments, decision)
        found = plan(decision, knowledge, *args, **rest)
        return found if suggest is None else completed(found, rest, suggest, decision, knowledge)

    def completed(
        found: Plan[ObjectApiResponse[Any]],
        rest: Mapping[str, Any],
        suggest: Json,
        decision: Decision,
        knowledge: Knowledge,
    ) -> Plan[ObjectApiResponse[Any]]:
        response = yield from found
        request = parse_request(rest)
        body = yield from _with_completions(response.body, suggest, request, decision, knowledge)
        return ObjectApiResponse(body=body, meta=response.meta)

    return searching


def completing_each(plan: _Searching[P]) -> _Searching[P]:
    """The same for the plan of an ``msearch``."""

    @wraps(plan)
    def searching(
        decision: Decision, knowledge: Knowledge, /, *args: P.args, **arguments: P.kwargs
    ) -> Plan[ObjectApiResponse[Any]]:
        name = "body" if arguments.get("searches") is None else "searches"
        given: Any = arguments.get(name)
        lines = list(given) if isinstance(given, LISTS) else []
        parts = [apart({"body": body}, decision) for body in lines[1::2]]
        if all(suggest is None for _, suggest in parts):
            return (yield from plan(decision, knowledge, *args, **arguments))
        lines[1::2] = [search["body"] for search, _ in parts]
        rest: Any = {**arguments, name: lines}
        response = yield from plan(decision, knowledge, *args, **rest)
        common = {key: value for key, value in arguments.items() if key != name}
        answers = list(response.body["responses"])
        for number, (search, suggest) in enumerate(parts):
            if suggest is not None and "error" not in answers[number]:
                request = parse_request({**common, **lines[2 * number], **search})
                answers[number] = yield from _with_completions(
                    answers[number], suggest, request, decision, knowledge
                )
        return ObjectApiResponse({**response.body, "responses": answers}, response.meta)

    return searching


def apart(arguments: Mapping[str, Any], decision: Decision) -> tuple[Any, Json | None]:
    """The arguments of a search without its completions, and these, if they need looking at."""
    body = arguments.get("body")
    in_body: Mapping[str, Any] = body if isinstance(body, Mapping) else {}
    if not decision.hidden or not ("suggest" in in_body or "suggest" in arguments):
        return arguments, None
    rest = dict(arguments)
    suggest = rest.pop("suggest", None)
    if suggest is None and "suggest" in in_body:
        suggest = in_body["suggest"]
        rest["body"] = {key: value for key, value in in_body.items() if key != "suggest"}
    if suggest is None:
        return rest, None
    check_completions(suggest, "suggest")
    if _SEARCHING.isdisjoint([*in_body, *arguments]):
        # The engine looks for no documents then.
        nothing: Json = {"query": {"match_none": {}}}
        rest |= nothing if body is None else {"body": {**rest["body"], **nothing}}
    return rest, suggest


_TYPE = "completion#"
"""What is in front of a name where keys are typed."""
_SEARCHING = names("aggregations aggs knn q query retriever")


def _with_completions(
    answer: Json, suggest: Json, request: Request, decision: Decision, knowledge: Knowledge
) -> Plan[Json]:
    """The answer to a search, with its completions."""
    where = {key: value for key, value in request.parameters.items() if key in _WHERE}
    body: Json = {
        "size": 0,
        "query": {"bool": {"must_not": decision.unmapped_fails}},
        "terminate_after": LEAST_TERMINATE_AFTER,
        "_source": request.body.get("_source", True),
        "docvalue_fields": list(decision.fields.deciding),
        **{key: request.body[key] for key in ("pit",) if key in request.body},
    }
    found: Json = {}
    count = max((_looked_at(entry) for entry in _entries(suggest)), default=0)
    while True:
        asked = {name: _asking(entry, count) for name, entry in suggest.items()}
        call = Call("search", {**where, "body": {**body, "suggest": asked}})
        response = yield from call_checked(
            call, request.target, decision.fields, knowledge, _indices_of_options
        )
        enough = []
        for key, parts in response.body.get("suggest", {}).items():
            name = key.removeprefix(_TYPE) if request.parameters.get("typed_keys") else key
            completion = suggest[name]["completion"]
            chosen = []
            for part in parts:
                options = part["options"]
                shown = yield from _shown(options, request, decision, knowledge)
                chosen.append(_chosen(options, shown, completion, count, decision))
            enough += [proved for _, proved in chosen]
            found[key] = [
                {**part, "options": options}
                for part, (options, _) in zip(parts, chosen, strict=True)
            ]
        if all(enough) or count >= MOST:
            return {**answer, "suggest": found}
        count = min(4 * count, MOST)


def _shown(
    options: Sequence[Json], request: Request, decision: Decision, knowledge: Knowledge
) -> Plan[list[Json]]:
    """The options whose documents nothing hides, be it outside of them or only in their source."""
    known = yield from check_fields(request.target, decision.fields, knowledge)
    told = judgements(options, decision, known)
    shown = [option for option, item in zip(options, told, strict=True) if not hides(item)]
    return (yield from not_blocked_elsewhere(shown, decision))


def _indices_of_options(answer: Json) -> set[str]:
    suggestions = [part for parts in answer.get("suggest", {}).values() for part in parts]
    return {option["_index"] for part in suggestions for option in part["options"]}


def _entries(suggest: Json) -> Iterator[Json]:
    return (entry for name, entry in suggest.items() if name != "text")


def _size(completion: Json) -> int:
    return a_count(completion.get("size", _DEFAULT_SIZE), "suggest.completion.size")


def _looked_at(entry: Json) -> int:
    """How many completions to look at first; most often few are hidden."""
    return 2 * _size(entry["completion"]) + 10


def _asking(entry: Any, count: int) -> Any:
    """A completion, or the text of all of them, that asks for this many."""
    if not isinstance(entry, dict):
        return entry
    kept = {key: item for key, item in entry["completion"].items() if key not in _DECIDED_HERE}
    return {**entry, "completion": {**kept, "size": max(count, _size(entry["completion"]))}}


# Of equal texts one of a hidden document could stand for one of a visible document.
_DECIDED_HERE = names("shard_size size skip_duplicates")


def _chosen(
    options: Sequence[Json],
    shown: Sequence[Json],
    completion: Json,
    count: int,
    decision: Decision,
) -> tuple[list[Json], bool]:
    """The best visible completions, and whether they are the best of all there are.

    Args:
        options: all that were found.
        shown: those of them that nothing hides.
        completion: what was asked for.
        count: how many were looked at.
        decision: the level that holds.
    """
    size = _size(completion)
    hits = [
        {"fields": option.get("fields", {}), "_score": option["_score"], "option": option}
        for option in shown
    ]
    best = []
    seen = set()
    for hit in put_in_order(hits, decision):
        option = {key: value for key, value in hit["option"].items() if key != "fields"}
        if not completion.get("skip_duplicates") or option["text"] not in seen:
            seen.add(option["text"])
            best.append({**option, "_score": hit["_score"], KEY: hit[KEY]})
    best = best[:size]
    are_all = len(options) < max(count, size)
    full = len(best) == size and (not best or best[-1]["_score"] >= options[-1]["_score"])
    return best, are_all or full
