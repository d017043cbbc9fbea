"""Suggestions of visible documents, by asking for more of them than are wanted.

No query filters a suggestion. So more are asked for than are wanted, those of hidden documents are
taken out, and still more are asked for until as many as are wanted are left, or there are no more.
What is looked at differs: of a completion its document (``completions``), of a word how many
visible documents hold it, which one more search counts (``words``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from elastic_transport import ObjectApiResponse
from elasticsearch import ApiError, BadRequestError

from saferank.engines.opensearch import LEAST_TERMINATE_AFTER
from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import LISTS, Json, Query, names
from saferank.ranker.client import completions, words
from saferank.ranker.client.arguments import Request, parse_request
from saferank.ranker.client.completions import Chosen
from saferank.ranker.client.flow import (
    Call,
    Knowledge,
    Known,
    Plan,
    call_checked,
    check_fields,
    not_blocked_elsewhere,
)
from saferank.ranker.client.judging import hides, judgements
from saferank.ranker.client.words import Visible
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.states import any_of
from saferank.ranker.rewrite.search import rewrite_search
from saferank.ranker.rewrite.suggest import check_suggestions, entries_of, kind_of
from saferank.ranker.rewrite.traces import without_request

P = ParamSpec("P")
_Searching = Callable[Concatenate[Decision, Knowledge, P], Plan[ObjectApiResponse[Any]]]

MOST = 1000
"""Most options of a suggestion that are looked at, and most words that one search counts."""
MOST_WORDS = 5 * MOST
"""Most words that are counted, the nearest of each suggestion first."""
# Parameters of a search that say where suggestions are to be found.
_WHERE = names(
    """
    allow_no_indices allow_partial_search_results expand_wildcards ignore_throttled
    ignore_unavailable index preference routing
    """
)


def suggesting(plan: _Searching[P]) -> _Searching[P]:
    """The plan of a search, that also takes suggestions where documents are hidden."""

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
        suggestions = _Suggestions(parse_request(rest), suggest, decision, knowledge)
        body = {**response.body, "suggest": (yield from suggestions.visible())}
        return ObjectApiResponse(body=body, meta=response.meta)

    return searching


def suggesting_each(plan: _Searching[P]) -> _Searching[P]:
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
                suggestions = _Suggestions(request, suggest, decision, knowledge)
                try:
                    visible = yield from suggestions.visible()
                except ApiError as error:
                    answers[number] = _as_answer(error)
                else:
                    answers[number] = {**answers[number], "suggest": visible}
        return ObjectApiResponse({**response.body, "responses": answers}, response.meta)

    return searching


def _as_answer(error: ApiError) -> Json:
    """What an ``msearch`` has in the place of a search that fails so; the others go on."""
    if not isinstance(error.body, dict) or "error" not in error.body:
        raise error
    return {"error": without_request(error.body["error"]), "status": error.status_code}


def apart(arguments: Mapping[str, Any], decision: Decision) -> tuple[Any, Json | None]:
    """The arguments of a search without its suggestions, and these, if they need looking at."""
    body = arguments.get("body")
    in_body: Mapping[str, Any] = body if isinstance(body, dict | Mapping) else {}
    if not ("suggest" in in_body or "suggest" in arguments) or not decision.hidden:
        return arguments, None
    rest = dict(arguments)
    suggest = rest.pop("suggest", None)
    if suggest is None and "suggest" in in_body:
        suggest = in_body["suggest"]
        rest["body"] = {key: value for key, value in in_body.items() if key != "suggest"}
    if suggest is None:
        return rest, None
    check_suggestions(suggest, "suggest", decision)
    if _SEARCHING.isdisjoint([*in_body, *arguments]):
        # The engine looks for no documents then.
        nothing: Json = {"query": {"match_none": {}}}
        rest |= nothing if body is None else {"body": {**rest["body"], **nothing}}
    return rest, suggest


_SEARCHING = names("aggregations aggs knn q query retriever")


@dataclass(frozen=True)
class _Suggestions:
    """The suggestions of one search.

    Attributes:
        request: without them.
        suggest: checked: name -> suggestion, and a text for all of them.
        decision: the level that holds.
        knowledge: what is known of the indices.
    """

    request: Request
    suggest: Json
    decision: Decision
    knowledge: Knowledge

    def visible(self) -> Plan[Json]:
        """What the answer to the search has under ``suggest``."""
        entries = entries_of(self.suggest)
        counts = {name: self._first_count(entry) for name, entry in entries.items()}
        result: Json = {}
        while counts:
            found = yield from self._found(entries, counts)
            visible = yield from self._held(entries, found)
            unproved: dict[str, int] = {}
            for name, parts in found.items():
                chosen = []
                for part in parts:
                    count = counts[name]
                    chosen.append(
                        (yield from self._choose(name, entries[name], part, visible, count))
                    )
                result[self._typed(name, entries[name])] = [
                    {**part, "options": choice.options}
                    for part, choice in zip(parts, chosen, strict=True)
                ]
                more = visible.all_counted or kind_of(entries[name]) == "completion"
                if more and counts[name] < MOST and not all(item.proved for item in chosen):
                    few = any(len(part["options"]) < counts[name] for part in parts)
                    unproved[name] = MOST if few else min(4 * counts[name], MOST)
            counts = unproved
        return result

    def _first_count(self, entry: Json) -> int:
        """How many options to look at first."""
        kind = kind_of(entry)
        if kind != "term":
            return completions.first_count(entry[kind])
        text = str(entry.get("text", self.suggest.get("text", "")))
        return words.first_count(entry[kind], MOST // (1 + len(text.split())))

    def _typed(self, name: str, entry: Json) -> str:
        """The name under which the answer has a suggestion."""
        return f"{kind_of(entry)}#{name}" if self.request.parameters.get("typed_keys") else name

    def _found(
        self, entries: Mapping[str, Json], counts: Mapping[str, int]
    ) -> Plan[dict[str, list[Json]]]:
        """What the engine suggests, hidden or not, by name; so many options of each."""
        shared = {name: text for name, text in self.suggest.items() if name not in entries}
        asked = {name: _asking(entries[name], count) for name, count in counts.items()}
        body = {
            "size": 0,
            "query": {"bool": {"must_not": self.decision.unmapped_fails}},
            "terminate_after": LEAST_TERMINATE_AFTER,
            "_source": self.request.body.get("_source", True),
            "docvalue_fields": list(self.decision.fields.deciding),
            "suggest": {**shared, **asked},
        }
        answer = yield from self._search(body, _indices_of_options)
        return {name: parts for name, parts in answer.get("suggest", {}).items() if name in entries}

    def _held(self, entries: Mapping[str, Json], found: dict[str, list[Json]]) -> Plan[Visible]:
        """How many visible documents hold the words that were found."""
        ranked = [
            item
            for name, parts in found.items()
            for part in parts
            for item in _words(entries[name], part)
        ]
        held = list(dict.fromkeys(word for _, word in sorted(ranked, key=lambda item: item[0])))
        holding: dict[words.Word, int] = {}
        documents = 0
        for start in range(0, min(len(held), MOST_WORDS), MOST):
            part = held[start : start + MOST]
            queries: list[Query] = [{"term": {field: {"value": word}}} for field, word in part]
            numbers, documents = yield from self._count(queries, "suggest")
            holding |= zip(part, numbers, strict=True)
        return Visible(holding, documents, all_counted=len(held) <= MOST_WORDS)

    def _count(self, queries: Sequence[Query], key: str) -> Plan[tuple[list[int], int]]:
        """How many visible documents each query finds, and how many there are."""
        counts = {"filters": {"filters": list(queries)}}
        body = rewrite_search(
            {"size": 0, "track_total_hits": True, "aggs": {_COUNTS: counts}},
            self.decision,
            demote=False,
        )
        try:
            answer = yield from self._search(body)
        except BadRequestError as error:
            # The engine's message cites the word.
            raise UnsafeRequest(
                key,
                "the engine takes no query for what was suggested; suggest words of a 'text' or "
                "'keyword' field, and let 'collate' ask for them in one",
            ) from error
        buckets = answer["aggregations"][_COUNTS]["buckets"]
        return [bucket["doc_count"] for bucket in buckets], answer["hits"]["total"]["value"]

    def _search(
        self, body: Json, names_in: Callable[[Json], set[str]] = lambda _: set()
    ) -> Plan[Json]:
        given = self.request
        where = {key: value for key, value in given.parameters.items() if key in _WHERE}
        pit = {key: given.body[key] for key in ("pit",) if key in given.body}
        call = Call("search", {**where, "body": {**body, **pit}})
        response = yield from call_checked(
            call, given.target, self.decision.fields, self.knowledge, names_in
        )
        answer: Json = response.body
        return answer

    def _choose(
        self, name: str, entry: Json, part: Json, visible: Visible, count: int
    ) -> Plan[Chosen]:
        """What the application gets of one part of the answer."""
        kind = kind_of(entry)
        asked, key = entry[kind], f"suggest.{name}.{kind}"
        if kind == "term":
            return words.choose_words(part, asked, visible, count)
        if kind == "phrase":
            phrases = words.visible_phrases(part, asked, visible)[:MOST]
            queries = words.collate_queries(phrases, asked, key)
            finding, _ = (yield from self._count(queries, f"{key}.collate")) if queries else ([], 0)
            return words.choose_phrases(part, phrases, finding, asked, count)
        options = part["options"]
        shown = yield from self._shown(options)
        return completions.choose(options, shown, asked, count, self.decision)

    def _shown(self, options: Sequence[Json]) -> Plan[list[Json]]:
        """The options whose documents nothing hides, be it outside of them or in their source."""
        known = yield from check_fields(self.request.target, self.decision.fields, self.knowledge)
        whole = yield from self._with_documents(options, known)
        told = judgements(whole, self.decision, known)
        shown = [option for option, item in zip(whole, told, strict=True) if not hides(item)]
        return (yield from not_blocked_elsewhere(shown, self.decision))

    def _with_documents(self, options: Sequence[Json], known: Known) -> Plan[list[Json]]:
        """The options, those of nested objects with the doc values of the documents they are in.

        An option of a nested object has neither doc values nor the source of its document. Those
        whose document hides, or cannot be told, are left out.
        """
        places = dict.fromkeys(_place(option) for option in options if "_nested" in option)
        documents: dict[_Place, Json] = {}
        for start in range(0, len(places), _TOGETHER):
            documents |= yield from self._documents([*places][start : start + _TOGETHER], known)
        whole = []
        for option in options:
            if "_nested" not in option:
                whole.append(option)
            elif _place(option) in documents:
                whole.append({**option, "fields": documents[_place(option)].get("fields", {})})
        return whole

    def _documents(self, places: Sequence[_Place], known: Known) -> Plan[dict[_Place, Json]]:
        """Documents by index and id, with their doc values, those that nothing hides."""
        fields = list(self.decision.fields.deciding)
        wanted = [
            {"bool": {"filter": [{"term": {"_index": index}}, {"ids": {"values": [name]}}]}}
            for index, name in places
        ]
        query = {"filter": [any_of(wanted)], "must_not": self.decision.unmapped_fails}
        body = {
            "query": {"bool": query},
            "size": 2 * len(places),
            "_source": fields if known.source_tells else False,
            "docvalue_fields": fields,
            "track_total_hits": True,
        }
        answer = yield from self._search(body)
        hits = answer["hits"]["hits"]
        if answer["hits"]["total"]["value"] > len(hits):
            # Many have the same id, under several routings.
            return {}
        told = judgements(hits, self.decision, known)
        # Which of those with one id an option is of is not known: none of them may be hidden.
        hidden = {_place(hit) for hit, item in zip(hits, told, strict=True) if hides(item)}
        return {_place(hit): hit for hit in hits if _place(hit) not in hidden}


_COUNTS = "saferank-counts"
_TOGETHER = 100
"""Most documents of nested objects that are looked at with one search."""
_Place = tuple[str, str]
"""Index and id of a document."""


def _place(hit: Json) -> _Place:
    return hit["_index"], hit["_id"]


def _asking(entry: Json, count: int) -> Json:
    """A suggestion as it is sent, asking for this many options."""
    kind = kind_of(entry)
    return {**entry, kind: _ASKING[kind](entry[kind], count)}


_ASKING = {
    "completion": completions.asking,
    "phrase": words.asking_phrases,
    "term": words.asking_words,
}


def _words(entry: Json, part: Json) -> Iterator[words.Ranked]:
    """The words of a part of the answer that are to be counted."""
    kind = kind_of(entry)
    if kind == "term":
        yield from words.words_of_term(part, entry[kind])
    elif kind == "phrase":
        yield from words.words_of_phrase(part, entry[kind])


def _indices_of_options(answer: Json) -> set[str]:
    suggestions = [part for parts in answer.get("suggest", {}).values() for part in parts]
    options = [option for part in suggestions for option in part["options"]]
    return {option["_index"] for option in options if "_index" in option}
