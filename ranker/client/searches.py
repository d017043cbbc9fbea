"""Searches and counts, each by the cheapest way that is exact for it; see ``flow`` for plans."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple, Unpack

from elastic_transport import ApiResponse, ObjectApiResponse
from elasticsearch import ApiError, BadRequestError

from saferank.errors import UnsafeRequest
from saferank.ranker.bodies import LISTS, MATCH_ALL, Json, Page, an_object, as_list
from saferank.ranker.client import keywords
from saferank.ranker.client.arguments import Request, parse_request, with_body
from saferank.ranker.client.flow import (
    Call,
    Knowledge,
    Known,
    Plan,
    call_checked,
    check_fields,
    says_unmapped,
)
from saferank.ranker.client.indices import Target, one_text
from saferank.ranker.client.limits import depends_on_limits, read_limits
from saferank.ranker.client.lookups import reading_documents
from saferank.ranker.client.overfetch import (
    fetch_ranking,
    fetch_request,
    window_proves,
    window_request,
)
from saferank.ranker.client.scrolls import ScrollToken
from saferank.ranker.client.steps import Step, in_query
from saferank.ranker.client.suggestions import suggesting
from saferank.ranker.client.ways import Attempt, Experience, Way, choose
from saferank.ranker.hits import KEY, HitReader
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.verdicts import Action
from saferank.ranker.rewrite.limits import DEFAULT_LIMITS, Limits
from saferank.ranker.rewrite.query import safe_query
from saferank.ranker.rewrite.ranking import demoting
from saferank.ranker.rewrite.relevance import finds_all, with_zeros, with_zeros_in_groups
from saferank.ranker.rewrite.search import restore_response, rewrite_count, rewrite_search
from saferank.ranker.rewrite.traces import asking_all_shards, without_traces


class _Answer(NamedTuple):
    """What the application gets.

    Attributes:
        body: of the response; with an ``error`` when the engine refused the request.
        unexpected: None when it fits what is known of the indices; else the indices it came from.
    """

    body: Json
    unexpected: frozenset[str] | None = None


_SearchSteps = Generator[Step, Json, _Answer]
"""Yields searches, is sent response bodies, returns the answer for the application."""


def search(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.Search]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.search``."""
    request = parse_request(arguments)
    target = request.target
    known = knowledge.recent(target, decision.fields)
    if known is None:
        known = yield from check_fields(target, decision.fields, knowledge)
    answer, last = yield from _sent(request, decision, knowledge, known)
    if answer.unexpected is not None:
        known = yield from check_fields(target, decision.fields, knowledge, answer.unexpected)
        answer, last = yield from _sent(request, decision, knowledge, known)
    if isinstance(last, ApiError):
        raise last
    body = answer.body
    if "scroll" in request.parameters and "_scroll_id" in body:
        reader = _reader(request, decision, known)
        token = ScrollToken.of(body["_scroll_id"], decision, reader)
        body["_scroll_id"] = token.signed(knowledge.key)
        if not (body["hits"]["hits"] or _is_everything(body["hits"])):
            time, begun = request.parameters["scroll"], body["_scroll_id"]
            page = yield from scroll(decision, knowledge, scroll=time, scroll_id=begun)
            body["_scroll_id"] = page.body["_scroll_id"]
            body["hits"]["hits"] = page.body["hits"]["hits"]
    if "pit_id" in body:
        # The engine may give another id for the same indices.
        knowledge.remember(Target(point_in_time=body["pit_id"]), decision.fields, known)
    return ObjectApiResponse(body=body, meta=last.meta)


def _sent(
    request: Request, decision: Decision, knowledge: Knowledge, known: Known
) -> Plan[tuple[_Answer, ObjectApiResponse[Any] | ApiError]]:
    """Send a search by the ways there are; the answer, and the last response or refusal."""
    steps = yield from _begun(request, decision, knowledge, known)
    step = next(steps)
    while True:
        last: ObjectApiResponse[Any] | ApiError
        arguments = {
            **step.parameters(request.parameters),
            **asking_all_shards(step.body, decision),
            "body": step.body,
        }
        try:
            last = yield Call("search", arguments)
            answer = last.body
        except ApiError as refused:
            last, answer = refused, {"error": refused.body}
            if not (isinstance(last, BadRequestError) or says_unmapped(answer, decision.fields)):
                raise
        try:
            step = steps.send(answer)
        except StopIteration as stop:
            return stop.value, last


def msearch(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.Msearch]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.msearch``: every search as ``search`` would do it, all of them together."""
    parameters, headers, requests = _parts(arguments)
    for request in requests:
        parameters.update(asking_all_shards(request.body, decision))
    took, answers = 0, {}
    # What does not fit what is known of the indices is sent once more.
    pending: dict[int, frozenset[str] | None] = dict.fromkeys(range(len(requests)))
    for _ in range(2):
        running = {}
        for number, unexpected in pending.items():
            target = requests[number].target
            known = yield from check_fields(target, decision.fields, knowledge, unexpected)
            running[number] = yield from _begun(requests[number], decision, knowledge, known)
        waiting = {number: next(steps) for number, steps in running.items()}
        while running:
            batch = [number for number in running if waiting[number].own] or list(running)
            lines = [line for number in batch for line in (headers[number], waiting[number].body)]
            sent = waiting[batch[0]].parameters(parameters)
            response = yield Call("msearch", {**sent, "searches": lines})
            took += response.body.get("took", 0)
            for number, answer in zip(batch, response.body["responses"], strict=True):
                try:
                    waiting[number] = running[number].send(answer)
                except StopIteration as stop:
                    answers[number] = stop.value
                    del running[number]
        pending = {
            number: unexpected
            for number in pending
            if (unexpected := answers[number].unexpected) is not None
        }
    ordered = [answers[number].body for number in range(len(requests))]
    return ObjectApiResponse(body={"took": took, "responses": ordered}, meta=response.meta)


def _parts(arguments: Mapping[str, Any]) -> tuple[Json, list[Json], list[Request]]:
    """What holds for all searches of an ``msearch``; the header and the meaning of each.

    Raises:
        UnsafeRequest: a part that is not known to be safe.
    """
    parameters = {key: value for key, value in arguments.items() if value is not None}
    searches = parameters.pop("searches", None) or parameters.pop("body", None)
    parameters.pop("body", None)
    if not isinstance(searches, LISTS):
        raise UnsafeRequest("searches", "give them as a list of headers and bodies")
    if len(searches) % 2:
        raise UnsafeRequest("searches", "a header and a body for each search are expected")
    if not searches:
        raise UnsafeRequest("searches", "there are none")
    common = parse_request(parameters)
    if common.body:
        raise UnsafeRequest(next(iter(common.body)), "it belongs into the searches")
    headers = [
        an_object(header, f"searches.{2 * number}") for number, header in enumerate(searches[::2])
    ]
    requests = []
    for number, (header, body) in enumerate(zip(headers, searches[1::2], strict=True)):
        if parse_request(header).body:
            raise UnsafeRequest(f"searches.{2 * number}", "a header has no part of the body")
        an_object(body, f"searches.{2 * number + 1}")
        requests.append(parse_request({**common.parameters, **header, "body": body}))
    return common.parameters, headers, requests


def count(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.Count]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.count``."""
    request = parse_request(arguments)
    outside = {key: request.body.pop(key) for key in _COUNT_KEYS if key in request.body}
    body = rewrite_count(request.body, decision)
    sent = Call("count", {**request.parameters, **outside, "body": body})
    response = yield from call_checked(sent, request.target, decision.fields, knowledge)
    return ObjectApiResponse(without_traces(response.body, decision), response.meta)


# For a count these are parameters of the address, and see the relevance as it is.
_COUNT_KEYS = ("min_score", "terminate_after", "stats")


def search_template(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.SearchTemplate]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.search_template``: rendered by the engine, then searched as any other body."""
    given = with_body(arguments, keywords.SearchTemplate)
    template: Json = {key: given.pop(key) for key in ("id", "source", "params") if key in given}
    rendered = yield Call("render_search_template", template)
    body = dict(rendered.body["template_output"])
    extra = {key: given.pop(key) for key in ("explain", "profile") if key in given}
    given["body"] = {**body, **extra}
    return (yield from _any_search(decision, knowledge, **given))


_any_search = suggesting(reading_documents(search))


def scroll(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.Scroll]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.scroll``: the next page, at the level at which the scroll was begun."""
    given = with_body(arguments, keywords.Scroll)
    token = ScrollToken.parse(given.pop("scroll_id", None), knowledge.key)
    token.check(decision)
    reader = token.reader(decision.fields)
    while True:
        response = yield Call("scroll", {**given, "scroll_id": token.scroll_id})
        body = restore_response(response.body, decision)
        taken_out = yield from _scrolled(body, reader, decision, knowledge)
        if "_scroll_id" in body:
            token = token.renewed(body["_scroll_id"])
            body["_scroll_id"] = token.signed(knowledge.key)
        # An empty page is taken for the end.
        if body["hits"]["hits"] or not taken_out:
            return ObjectApiResponse(body=body, meta=response.meta)


def _scrolled(
    body: Json, reader: HitReader, decision: Decision, knowledge: Knowledge
) -> Plan[bool]:
    """Explain the hits of a page, and say whether any were taken out, known to be hidden."""
    if reader.blind:
        body[KEY] = _summary(decision, Way.IN_QUERY)
        return False
    _annotate(body, reader, decision, Way.IN_QUERY, None)
    hidden = _take_out_hidden(body)
    if hidden:
        names = sorted({hit["_index"] for hit in hidden})
        yield from check_fields(Target(",".join(names)), decision.fields, knowledge)
    return bool(hidden)


def clear_scroll(
    knowledge: Knowledge, **arguments: Unpack[keywords.ClearScroll]
) -> Plan[ApiResponse[Any]]:
    """``client.clear_scroll``."""
    given = with_body(arguments, keywords.ClearScroll)
    if ids := given.get("scroll_id"):
        given["scroll_id"] = [
            item if item == _ALL else ScrollToken.parse(item, knowledge.key).scroll_id
            for item in (ids.split(",") if isinstance(ids, str) else as_list(ids))
        ]
    response: ApiResponse[Any] = yield Call("clear_scroll", given)
    return response


_ALL = "_all"


def open_point_in_time(
    decision: Decision, knowledge: Knowledge, **arguments: Unpack[keywords.OpenPointInTime]
) -> Plan[ObjectApiResponse[Any]]:
    """``client.open_point_in_time``; each search in it is made safe on its own."""
    if decision.hidden and with_body(arguments).get("index_filter"):
        raise UnsafeRequest(
            "index_filter",
            "hidden documents decide, too, which shards it leaves out; put it into the query",
        )
    target = Target(one_text(arguments.get("index")), one_text(arguments.get("expand_wildcards")))
    known = yield from check_fields(target, decision.fields, knowledge)
    response: ObjectApiResponse[Any] = yield Call("open_point_in_time", dict(arguments))
    if "id" in response.body:
        opened = Target(point_in_time=response.body["id"])
        knowledge.remember(opened, decision.fields, known)
    return response


def _begun(
    request: Request, decision: Decision, knowledge: Knowledge, known: Known
) -> Plan[_SearchSteps]:
    """The steps of a search, for which the limits of its indices are known if they matter."""
    limits = DEFAULT_LIMITS
    if depends_on_limits(request):
        limits = yield from read_limits(request, knowledge)
    return _search_steps(request, decision, knowledge, limits, known)


def _search_steps(
    request: Request, decision: Decision, knowledge: Knowledge, limits: Limits, known: Known
) -> _SearchSteps:
    """One search, by the cheapest way that is exact for it."""
    index, experience = request.index, knowledge.experience
    reader = _reader(request, decision, known)
    body = reader.request(request.body)
    for attempt in choose(request, decision, experience):
        if attempt.way not in _TRIES or reader.blind:
            break
        search = _Search(request, decision, reader, experience, attempt)
        result = yield from _TRIES[attempt.way](body, search)
        experience.proved(index, decision.level_name, attempt.step, exact=result is not None)
        if result is not None:
            return _expected(result, reader, known)
    answer = yield from in_query(request, body, decision, knowledge, limits)
    unmapped = says_unmapped(answer, decision.fields)
    if "error" in answer:
        return _Answer(answer, frozenset() if unmapped else None)
    if "_shards" in answer:
        experience.saw_shards(index, answer["_shards"]["total"])
    result = restore_response(answer, decision)
    # Under a sort by fields their scores are tiers.
    if finds_all(request.body) and not (decision.functions and "sort" in request.body):
        with_zeros_in_groups(result["hits"])
    page = Page.of(request.body)
    if reader.blind:
        result[KEY] = _summary(decision, attempt.way)
        return _Answer(result, frozenset() if unmapped else None)
    _annotate(result, reader, decision, attempt.way, page)
    return _expected(result, reader, known)


def _reader(request: Request, decision: Decision, known: Known) -> HitReader:
    """What reads the hits of a request."""
    return HitReader.of(request.body, decision.fields, source_tells=known.source_tells)


def _expected(answer: Json, reader: HitReader, known: Known) -> _Answer:
    """The answer without hits that are known to be hidden; it says whether all is as expected."""
    hits = answer["hits"]["hits"]
    names = {hit["_index"] for hit in hits}
    hidden = _take_out_hidden(answer)
    fits = (
        names <= known.indices
        and reader.can_read(hits)
        and (known.twice or not hidden)
        and not says_unmapped(answer, reader.fields)
    )
    return _Answer(answer, None if fits else frozenset(names))


def _take_out_hidden(answer: Json) -> list[Json]:
    """Take out the explained hits that the level hides although the index found them.

    A document that was stored before its index had the safety fields can be such a one.

    Returns:
        The hits that were taken out.
    """
    hits = answer["hits"]["hits"]
    hidden = [hit for hit in hits if hit[KEY]["factor"] is None]
    if hidden:
        answer["hits"]["hits"] = [hit for hit in hits if hit[KEY]["factor"] is not None]
    return hidden


class _Search(NamedTuple):
    """One attempt at a search."""

    request: Request
    decision: Decision
    reader: HitReader
    experience: Experience
    attempt: Attempt


_Try = Generator[Step, Json, Json | None]


def _top(body: Json, search: _Search) -> _Try:
    """Send an attempt; None when its response says nothing about the ranking."""
    answer = yield Step(body)
    if "error" in answer or answer.get("timed_out"):
        return None
    search.experience.saw_shards(search.request.index, answer["_shards"]["total"])
    return without_traces(answer, search.decision)


def _try_window(body: Json, search: _Search) -> _Try:
    request, decision, reader = search.request, search.decision, search.reader
    page = Page.of(request.body)
    filtered = rewrite_search(body, decision, demote=False)
    query = safe_query(request.body.get("query", MATCH_ALL), "query", decision)
    demoted = demoting(query, decision, few=True)
    answer = yield from _top(window_request(filtered, demoted, page, search.attempt), search)
    if answer is None or answer["_shards"]["total"] > 1:
        return None
    hits = answer["hits"]["hits"]
    told = reader.describe(hits, decision)
    factors = [item["factor"] or _UNKNOWN for item in told]
    if not window_proves([hit["_score"] for hit in hits], factors, page, search.attempt.spare):
        return None
    del hits[page.size :]
    answer["hits"] = with_zeros(answer["hits"], in_order=True)
    _finish(answer, reader, told[: page.size], decision, Way.WINDOW, page)
    return answer


_UNKNOWN = 1e-30
"""A factor that proves nothing."""


def _try_fetch(body: Json, search: _Search) -> _Try:
    request, decision, reader = search.request, search.decision, search.reader
    page = Page.of(request.body)
    filtered = rewrite_search(body, decision, demote=False)
    answer = yield from _top(fetch_request(filtered, search.attempt.depth), search)
    if answer is None:
        return None
    hits = answer["hits"]["hits"]
    told = reader.describe(hits, decision)
    factors = [item["factor"] for item in told]
    if None in factors:
        return None  # Hidden, although the index found it.
    ranking = fetch_ranking([hit["_score"] for hit in hits], factors, page, search.attempt.depth)
    if ranking is None:
        return None
    if ranking.scores:
        answer["hits"]["max_score"] = ranking.scores[0]
    order = ranking.order[page.start :]
    for place, score in zip(order, ranking.scores[page.start :], strict=True):
        hits[place]["_score"] = score
    answer["hits"]["hits"] = [hits[place] for place in order]
    _finish(answer, reader, [told[place] for place in order], decision, Way.FETCH, page)
    return answer


_TRIES: dict[Way, Callable[[Json, _Search], _Try]] = {
    Way.WINDOW: _try_window,
    Way.FETCH: _try_fetch,
}


def _annotate(
    answer: Json, reader: HitReader, decision: Decision, way: Way, page: Page | None
) -> None:
    """Say in the response and in each hit what was done."""
    told = reader.describe(answer["hits"]["hits"], decision)
    _finish(answer, reader, told, decision, way, page)


def _finish(
    answer: Json,
    reader: HitReader,
    told: Sequence[Json],
    decision: Decision,
    way: Way,
    page: Page | None,
) -> None:
    hits = answer["hits"]["hits"]
    for hit, item in zip(hits, told, strict=True):
        hit[KEY] = item
    reader.clean(hits)
    summary = _summary(decision, way)
    if page is not None and page.start == 0 and _is_everything(answer["hits"]):
        if decision.functions:
            summary["demoted"] = sum(item["action"] == Action.DEMOTED for item in told)
        if decision.blurs:
            summary["blurred"] = sum(item["blur"] for item in told)
    answer[KEY] = summary


def _summary(decision: Decision, way: Way) -> Json:
    """What was done, as far as it is known without a look at the hits."""
    summary: Json = {
        "level": decision.level_name,
        "context_rule": decision.context_rule,
        "locked": decision.locked,
        "demotion": str(way),
    }
    if not decision.hidden:
        summary["hidden"] = 0
    if not decision.functions:
        summary["demoted"] = 0
    if not decision.blurs:
        summary["blurred"] = 0
    return summary


def _is_everything(hits: Json) -> bool:
    """Whether the page has all that was found."""
    total = hits.get("total")
    if isinstance(total, dict):
        return bool(total["relation"] == "eq" and total["value"] == len(hits["hits"]))
    return bool(total == len(hits["hits"]))
