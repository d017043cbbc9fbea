"""Methods of the safe clients: run a plan, or hand a call on, with the client's own signatures.

A plan is run in one of two ways, waiting for each answer or awaiting it, and nothing else tells
the plain and the asynchronous client apart. ``Planned`` and ``Passed`` give a method the signature
of what it is made of, once for both.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import partial, wraps
from types import MethodType
from typing import Any, Concatenate, Generic, NoReturn, ParamSpec, Self, TypeVar, overload

from elastic_transport import (
    ApiResponse,
    HeadApiResponse,
    ObjectApiResponse,
    SerializationError,
    TransportError,
)
from elasticsearch import ApiError

from saferank.engines.engine import Engine
from saferank.errors import UnsafeRequest, shortened
from saferank.ranker.bodies import names
from saferank.ranker.client.every_level import TOO_DEEP, check_arguments
from saferank.ranker.client.filter_path import cut
from saferank.ranker.client.flow import Call, Knowledge, Plan, know_overrides
from saferank.ranker.client.indices import one_text
from saferank.ranker.level.decision import Decision
from saferank.ranker.rewrite.traces import without_request

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")


# Keywords of any call that say how it travels, as the Elasticsearch client names them there.
_PER_CALL = frozenset({"api_key", "headers", "http_auth", "ignore", "opaque_id", "request_timeout"})


class PlainRunner:
    """Runs plans and waits for the answers."""

    client: Any
    _engine: Engine

    def _run(self, plan: Plan[R]) -> R:
        try:
            call = next(plan)
            while True:
                try:
                    response = _sent(self._engine, call)
                except Exception as error:
                    call = plan.throw(error)
                else:
                    call = plan.send(response)
        except StopIteration as stop:
            return _returned(stop.value, self._engine)  # type: ignore[no-any-return]
        except (ApiError, TransportError, RecursionError) as error:
            return _ended(error, self._engine)  # type: ignore[no-any-return]


class AsyncRunner:
    """Runs plans and awaits the answers."""

    client: Any
    _engine: Engine

    async def _run(self, plan: Plan[R]) -> R:
        try:
            call = next(plan)
            while True:
                try:
                    _check_address(call.arguments)
                    response = await _sent(self._engine, call)
                except Exception as error:
                    call = plan.throw(error)
                else:
                    call = plan.send(response)
        except StopIteration as stop:
            return _returned(stop.value, self._engine)  # type: ignore[no-any-return]
        except (ApiError, TransportError, RecursionError) as error:
            return _ended(error, self._engine)  # type: ignore[no-any-return]


def _returned(answer: Any, engine: Engine) -> Any:
    """What a plan returned, without what tells how long the answer was that it was made from."""
    if isinstance(answer, ApiResponse):
        _forget_length(answer)
    return engine.answer(answer)


def _forget_length(answer: ApiResponse[Any] | ApiError) -> None:
    headers = answer.meta.headers
    for name in _OF_LENGTH:
        if name in headers:
            del headers[name]


_OF_LENGTH = ("content-length", "content-encoding", "transfer-encoding")


_Ending = ApiError | TransportError | RecursionError


def _ended(error: _Ending, engine: Engine) -> Any:
    """What a plan that ended in an error gives: a response if it is to be ignored.

    Raises:
        Exception: it is not; as the application's client raises it.
        UnsafeRequest: the request cannot be read or written.
    """
    told = _without_request(error)
    if isinstance(told, ApiError):
        _forget_length(told)
        if told.status_code in engine.ignored:
            return engine.answer(_as_response(told))
    raised = engine.error(told)
    if isinstance(raised, TransportError):
        raise raised  # With what it came from, the operating system's word for one.
    raise raised from None


def _without_request(error: _Ending) -> Exception:
    """The error without the request as it was sent, which carries the ids of blocked documents."""
    if isinstance(error, RecursionError):
        return UnsafeRequest("body", TOO_DEEP)
    if isinstance(error, SerializationError) and error.message.startswith(_NOT_WRITTEN):
        return UnsafeRequest(
            "body", "it has a value that JSON has no form for, a set or bytes for instance"
        )
    if not isinstance(error, ApiError):
        return error
    body, message = without_request(error.body), without_request(error.message)
    if (body, message) == (error.body, error.message):
        return error
    return type(error)(message=message, meta=error.meta, body=body)


# How elastic_transport says that a request cannot be written; of an answer that cannot be read it
# says that it is unable to deserialize.
_NOT_WRITTEN = "Unable to serialize"


def _check_address(arguments: Mapping[str, Any]) -> None:
    """See that no part of an address is '.' or '..'.

    aiohttp, by which asynchronous clients send, takes them for steps in the path, as browsers do,
    escaped or not: of a document '..' it makes the whole index.

    Raises:
        UnsafeRequest: one is.
    """
    for name in _IN_ADDRESS & arguments.keys():
        if arguments[name] in _STEPS:
            raise UnsafeRequest(
                name,
                f"an asynchronous client takes {arguments[name]!r} for a step in the path of the "
                "address and would ask for something else; use the plain client for it",
            )


_IN_ADDRESS = names("block dest fields id index metric name source target target_index")
_STEPS = (".", "..", ["."], [".."], (".",), ("..",))


def _with_checked_address(call: Callable[..., Awaitable[R]]) -> Callable[..., Awaitable[R]]:
    """The same call of an asynchronous client, see ``_check_address``."""

    @wraps(call)
    async def checked(*given: Any, **named: Any) -> R:
        _check_address(inspect.signature(call).bind(*given, **named).arguments if given else named)
        return await call(*given, **named)

    return checked


def _sent(engine: Engine, call: Call) -> Any:
    """The response to a call; of an asynchronous client, to be awaited."""
    if call.method == "search":
        return engine.sender.search(**engine.written(call.arguments))
    method = engine.sender
    for part in call.method.split("."):
        method = getattr(method, part)
    return method(**call.arguments)


def _as_response(error: ApiError) -> Any:
    """What the Elasticsearch client returns in the place of an error that it is to ignore.

    Plans always see the error, so that they tell what is not there from what is: only here, where
    a hidden document is a missing one already, does it become an answer.
    """
    if isinstance(error.body, dict):
        return ObjectApiResponse(body=error.body, meta=error.meta)
    if error.body:
        return ApiResponse(body=error.body, meta=error.meta)
    return HeadApiResponse(meta=error.meta)


class Planned(Generic[P, R]):
    """A method that runs a plan under the decision for its ``context=``.

    Args:
        plan: takes the decision, what is known of the indices, and the method's keywords.
        searches: whether its keywords are a search, that can be tried at every level.
    """

    def __init__(
        self,
        plan: Callable[Concatenate[Decision, Knowledge, P], Plan[R]],
        *,
        searches: bool = False,
    ) -> None:
        run: Callable[..., Plan[R]] = plan

        def begun(client: Any, context: Any, arguments: Mapping[str, Any]) -> Plan[R]:
            decision = client.decision(context)
            if decision.overrides_index is None:
                return run(decision, client._knowledge, **arguments)
            return _informed(run, decision, client._knowledge, arguments)

        self._define(plan, begun, searches=searches)

    def _define(
        self, plan: Callable[..., Any], begun: Callable[..., Plan[R]], *, searches: bool = False
    ) -> None:
        """Make the method, with the plan's name, keywords and docstring."""
        signature = _signature(plan)
        outside = (_PER_CALL | {"params"}) - signature.parameters.keys()

        def method(
            client: Any, *given: Any, context: Any = None, filter_path: Any = None, **named: Any
        ) -> Any:
            arguments = client._engine.keywords(method.__name__, given, named)
            if not outside.isdisjoint(arguments):
                client, arguments = _travelling(client, arguments, outside)
                filter_path = arguments.pop("filter_path", filter_path)
            if filter_path is not None:
                filter_path = one_text(filter_path, "filter_path")
            if searches and client._check_all_levels:
                check_arguments(arguments, client.policy)
            answer = begun(client, context, arguments)
            return client._run(cut(answer, filter_path) if filter_path else answer)

        method.__name__ = method.__qualname__ = plan.__name__
        method.__doc__ = self.__doc__ = plan.__doc__
        method.__signature__ = signature  # type: ignore[attr-defined]
        self._method = method

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: PlainRunner, owner: type) -> Callable[P, R]: ...
    @overload
    def __get__(self, client: AsyncRunner, owner: type) -> Callable[P, Coroutine[Any, Any, R]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self._method if client is None else MethodType(self._method, client)


class Undecided(Planned[P, R]):
    """A method that runs a plan and returns nothing of any document, whatever its ``context=``.

    Args:
        plan: takes what is known of the indices, and the method's keywords.
    """

    def __init__(self, plan: Callable[Concatenate[Knowledge, P], Plan[R]]) -> None:
        run: Callable[..., Plan[R]] = plan

        def begun(client: Any, _context: Any, arguments: Mapping[str, Any]) -> Plan[R]:
            return run(client._knowledge, **arguments)

        self._define(plan, begun)


def _informed(
    run: Callable[..., Plan[R]], decision: Decision, knowledge: Knowledge, arguments: Any
) -> Plan[R]:
    """The plan under the decision, which knows by then what people blocked."""
    known = yield from know_overrides(decision, knowledge)
    return (yield from run(known, knowledge, **arguments))


def _handed_on(safe: Any, client: Any, name: str) -> Any:
    """A call of the application's client, or of a group of its calls, for a safe client."""
    call = getattr(client, name)
    return _with_checked_address(call) if isinstance(safe, AsyncRunner) else call


class Passed(Generic[P, R, A]):
    """A method that returns nothing of any document, handed on as it is.

    Args:
        plain: the method of the plain Elasticsearch client.
        asynchronous: that of the asynchronous one, with the same keywords.
        name: what the client calls it; None for the same as Elasticsearch's.
    """

    def __init__(
        self,
        plain: Callable[Concatenate[Any, P], R],
        asynchronous: Callable[..., A],
        name: str | None = None,
    ) -> None:
        self._name = name or plain.__name__
        self.__doc__ = plain.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: PlainRunner, owner: type) -> Callable[P, R]: ...
    @overload
    def __get__(self, client: AsyncRunner, owner: type) -> Callable[P, A]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self if client is None else _handed_on(client, client.client, self._name)


class Group(Generic[R, A]):
    """A group of calls, of which those are handed on whose answers say nothing of any document.

    Args:
        passed: names of these calls; all others are refused.
        left_out: call -> parts of its answer that do say something, and are left out.
    """

    def __init__(
        self, passed: frozenset[str], left_out: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        self.passed = passed
        self.left_out = left_out or {}

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: PlainRunner, owner: type) -> R: ...
    @overload
    def __get__(self, client: AsyncRunner, owner: type) -> A: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self if client is None else _Calls(self, client)


class _Calls:
    """The calls of a group on one client."""

    def __init__(self, group: Group[Any, Any], safe: Any) -> None:
        self._group = group
        self._safe = safe

    def __getattr__(self, name: str) -> Any:
        plain = getattr(self._safe.client, self._group.name)
        if name not in self._group.passed:
            refuse_call(plain, name, f"{self._group.name}.{name}")
        call = _handed_on(self._safe, plain, name)
        left_out = [f"-{part}" for part in self._group.left_out.get(name, ())]
        return partial(_without, call, left_out) if left_out else call

    def __dir__(self) -> Iterable[str]:
        return self._group.passed


def _without(call: Callable[..., R], left_out: list[str], **arguments: Any) -> R:
    """Make a call, and leave parts out of its answer."""
    given = arguments.pop("filter_path", None) or []
    given = given.split(",") if isinstance(given, str) else given
    return call(**arguments, filter_path=[*given, *left_out])


def refuse_call(client: Any, name: str, path: str) -> NoReturn:
    """Raise the error for a call that is not handed on.

    Args:
        client: of Elasticsearch, or a group of its calls.
        name: of the call.
        path: the same as an application writes it, behind its client.
    """
    if name.startswith("_") or not hasattr(client, name):
        raise AttributeError(f"{type(client).__name__!r} object has no attribute {name!r}")
    why = _INSTEAD.get(path, "this call is not known to be safe")
    raise UnsafeRequest(path, f"{why}; use '.client.{path}' where no user sees it")


_INSTEAD = {
    "terms_enum": "it lists words of hidden documents, too: search with a 'terms' aggregation, "
    "whose 'include' says how they begin",
}


def _travelling(
    client: Any, given: Mapping[str, Any], outside: frozenset[str]
) -> tuple[Any, dict[str, Any]]:
    """The client with the options that a call gives for itself, and the call's other arguments.

    The Elasticsearch client takes them on every call and warns that ``options`` is the place; for
    that of OpenSearch there is no other.
    """
    arguments = dict(given)
    if "params" in outside:
        parameters = arguments.pop("params", None) or {}
        if not isinstance(parameters, Mapping):
            raise UnsafeRequest("params", "an object is expected")
        for name, value in parameters.items():
            if not isinstance(name, str):
                raise UnsafeRequest("params", f"names must be text, not {shortened(name)}")
            if name in arguments:
                raise TypeError(f"{name!r} is given twice, as a keyword and in 'params'")
            arguments[name] = value
    options = {name: arguments.pop(name) for name in _PER_CALL & outside & arguments.keys()}
    if "ignore" in options:
        options["ignore_status"] = options.pop("ignore")
    if not client._engine.options_in_calls:
        warnings.warn(
            "'params' and transport options in a call are deprecated; use '.options()' instead",
            category=DeprecationWarning,
            stacklevel=3,
        )
    return client.options(**options) if options else client, arguments


def _signature(plan: Callable[..., Any]) -> inspect.Signature:
    """The keywords of a plan one by one, for consoles and editors that look at live objects."""
    (*_, arguments) = inspect.signature(plan, eval_str=True).parameters.values()
    (keywords,) = arguments.annotation.__args__
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for name, annotation in keywords.__annotations__.items():
        default = inspect.Parameter.empty if name in keywords.__required_keys__ else None
        parameters.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )
        )
    return inspect.Signature(parameters)
