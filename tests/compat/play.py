"""Runs the tests of the suites, with every reading call sent by several clients."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from elastic_transport import HeadApiResponse
from elasticsearch import ApiError, Elasticsearch
from suites import OPTIONS, Group, Json
from twins import MARK

from saferank.errors import MappingError, UnsafeRequest

__all__ = ["READS", "Asked", "Failure", "Outcome", "Outcomes", "play"]

# The suites' names of calls, and elasticsearch-py's.
READS = {
    "clear_scroll": "clear_scroll",
    "count": "count",
    "create_pit": "open_point_in_time",
    "delete_pit": "close_point_in_time",
    "exists": "exists",
    "exists_source": "exists_source",
    "explain": "explain",
    "get": "get",
    "get_source": "get_source",
    "mget": "mget",
    "msearch": "msearch",
    "mtermvectors": "mtermvectors",
    "scroll": "scroll",
    "search": "search",
    "search_template": "search_template",
    "termvectors": "termvectors",
}
_BY_ID = ("exists", "exists_source", "explain", "get", "get_source", "termvectors")
_BY_IDS = ("mget", "mtermvectors")
# Without replicas there is nothing to wait for.
_NEEDLESS = ("cluster.health", "get_all_pits")


class Asked(NamedTuple):
    """A reading call of a test, the same in every world.

    Attributes:
        file: of the test.
        case: name of the test.
        step: its number in the test, from 1.
        to_fail: the test, or common sense, expects that it fails.
        of_twin: the call once more, with the twin's id.
    """

    file: str
    case: str
    step: int
    to_fail: bool
    of_twin: bool = False


class Failure(NamedTuple):
    """Why there is no answer.

    Attributes:
        status: of the engine; None when it was not asked.
        kind: a few words, to count by.
        text: everything that was said.
    """

    status: int | None
    kind: str
    text: str


@dataclass(frozen=True)
class Outcome:
    """What came of a call.

    Attributes:
        call: its name and arguments.
        answer: the response's body, when ``failure`` is None.
        failure: why there is no answer.
        refused: it is the safe client that gave none.
    """

    call: tuple[str, Json]
    answer: Any = None
    failure: Failure | None = None
    refused: bool = False


Outcomes = dict[Asked, dict[str, Outcome]]


def play(group: Group, node: Elasticsearch, clients: Mapping[str, Any]) -> Outcomes:
    """Run a group of tests.

    Args:
        group: what to run.
        node: sends everything that is not a reading call.
        clients: by name; each sends all reading calls. The first is a plain one.

    Returns:
        For every reading call, what came of it for each client.
    """
    readers = {name: _Reader(client) for name, client in clients.items()}
    player = _Player(group.file, node, readers)
    broken = player.run("setup", group.setup, None)
    for case in group.cases:
        player.run(case.name, case.steps, broken)
    player.run("teardown", group.teardown, broken)
    return player.outcomes


@dataclass
class _Reader:
    """One of the clients, with what its answers have left for later steps."""

    client: Any
    stash: Json = field(default_factory=dict)
    last: Any = None


@dataclass
class _Player:
    file: str
    node: Elasticsearch
    readers: dict[str, _Reader]
    outcomes: Outcomes = field(default_factory=dict)

    def run(self, case: str, steps: Sequence[Json], broken: Failure | None) -> Failure | None:
        """Run steps; once one is broken, reading calls are noted but not sent."""
        for number, step in enumerate(steps, start=1):
            for reader in self.readers.values():
                for path, name in step.get("set", {}).items():
                    reader.stash[name] = _at(reader.last, path)
            do = step.get("do", {})
            for call, arguments in do.items():
                if call in READS:
                    asked = Asked(self.file, case, number, to_fail="catch" in do)
                    self._ask(asked, READS[call], _as_python(call, arguments or {}), broken)
                elif call not in (*OPTIONS, *_NEEDLESS) and broken is None:
                    keywords = _as_python(call, arguments or {})
                    broken = self._send(call, keywords, expected="catch" in do)
        return broken

    def _send(self, call: str, arguments: Json, *, expected: bool) -> Failure | None:
        plain = next(iter(self.readers.values()))
        outcome = _outcome(_Reader(self.node, plain.stash), call, arguments)
        for reader in self.readers.values():
            reader.last = outcome.answer
        return None if expected or "ignore" in arguments else outcome.failure

    def _ask(self, asked: Asked, call: str, arguments: Json, broken: Failure | None) -> None:
        questions = {asked: arguments}
        if twins := _of_twins(call, arguments):
            questions[asked._replace(to_fail=True, of_twin=True)] = twins
        for question, keywords in questions.items():
            outcomes = self.outcomes[question] = {}
            for name, reader in self.readers.items():
                if broken is None:
                    outcomes[name] = _outcome(reader, call, keywords)
                else:
                    outcomes[name] = Outcome((call, keywords), failure=broken)
                if not question.of_twin:
                    reader.last = outcomes[name].answer


class UnknownName(Exception):
    """A step needs what no earlier one has left."""


def _outcome(reader: _Reader, call: str, arguments: Json) -> Outcome:
    """Send a call."""
    sent = (call, arguments)
    try:
        keywords = _filled(copy.deepcopy(arguments), reader.stash)
        method: Any = reader.client
        for part in call.split("."):
            method = getattr(method, part)
        sent = (call, copy.deepcopy(keywords))
        response = method(**keywords)
    except (UnsafeRequest, MappingError, UnknownName) as error:
        text = str(error)
        key = getattr(error, "key", type(error).__name__).rpartition(".")[2]
        reason = re.sub(r"\d+", "N", text.partition(" was refused: ")[2] or text)
        return Outcome(sent, failure=Failure(None, f"{key}: {reason}", text), refused=True)
    except ApiError as error:
        kind = f"{error.status_code} {_reason(error)}"
        return Outcome(sent, failure=Failure(error.status_code, kind, json.dumps(error.body)))
    except Exception as error:  # Of the plain client's checks, or a fault of the safe one.
        text = f"{type(error).__name__}: {error}"
        return Outcome(sent, failure=Failure(None, text, text))
    if isinstance(response, HeadApiResponse):
        return Outcome(sent, bool(response))
    answer = response.body
    if call == "open_point_in_time":
        answer["pit_id"] = answer.pop("id")
    return Outcome(sent, answer)


def _reason(error: ApiError) -> str:
    """In a few words, without the names in brackets."""
    said = error.body.get("error", {}) if isinstance(error.body, dict) else {}
    causes = said.get("root_cause", ()) if isinstance(said, dict) else ()
    text = causes[0]["reason"] if causes else error.message
    return re.sub(r"\[[^\]]*\]", "[…]", text)[:100]


def _as_python(call: str, arguments: Json) -> Json:
    """Arguments as elasticsearch-py takes them."""
    arguments = {"from_" if key == "from" else key: value for key, value in arguments.items()}
    body = arguments.get("body")
    if isinstance(body, str) and call != "bulk":
        with suppress(ValueError):
            arguments["body"] = json.loads(body)
    if call == "create_pit":
        arguments.pop("allow_partial_pit_creation", None)
    if call == "delete_pit":
        (arguments["id"],) = arguments.pop("body")["pit_id"]
    return arguments


def _of_twins(call: str, arguments: Json) -> Json | None:
    """The same call for the twins of the documents that it names; None when it names none."""
    if call in _BY_ID and "id" in arguments:
        return {**arguments, "id": _twin(arguments["id"])}
    if call not in _BY_IDS:
        return None
    twins = copy.deepcopy(arguments)
    for part in (twins, twins.get("body") or {}):
        if isinstance(part.get("ids"), list):
            part["ids"] = [_twin(item) for item in part["ids"]]
        for document in part.get("docs") or ():
            if "_id" in document:
                document["_id"] = _twin(document["_id"])
    return twins if twins != arguments else None


def _twin(document_id: Any) -> str:
    return f"{document_id}{MARK}"


_NAME = re.compile(r"\$\{?(\w+)\}?")


def _filled(value: Any, stash: Json) -> Any:
    """Arguments with what earlier steps have left in the place of its names."""
    if isinstance(value, dict):
        return {key: _filled(item, stash) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, stash) for item in value]
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    name = _NAME.fullmatch(value)
    if name is None:
        return value
    if stash.get(name[1]) is None:
        raise UnknownName(f"{name[1]} was to come from an earlier answer")
    return stash[name[1]]


def _at(answer: Any, path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    for key in path.split("."):
        if isinstance(answer, list) and key.isdigit() and int(key) < len(answer):
            answer = answer[int(key)]
        elif isinstance(answer, dict):
            answer = answer.get(key)
        else:
            return None
    return answer
