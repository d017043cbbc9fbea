"""Methods of the safe clients: run a plan, or hand a call on, with the client's own signatures.

A plan is run in one of two ways, waiting for each answer or awaiting it, and nothing else tells
the plain and the asynchronous client apart. ``Planned`` and ``Passed`` give a method the signature
of what it is made of, once for both.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from saferank.ranker.client.flow import Call, Knowledge, Plan
from saferank.ranker.level.decision import Decision

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")


class PlainRunner:
    """Runs plans on ``self.client`` and waits for its answers."""

    client: Any

    def _run(self, plan: Plan[R]) -> R:
        try:
            call = next(plan)
            while True:
                try:
                    response = _method(self.client, call)(**call.arguments)
                except Exception as error:
                    call = plan.throw(error)
                else:
                    call = plan.send(response)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


class AsyncRunner:
    """Runs plans on ``self.client`` and awaits its answers."""

    client: Any

    async def _run(self, plan: Plan[R]) -> R:
        try:
            call = next(plan)
            while True:
                try:
                    response = await _method(self.client, call)(**call.arguments)
                except Exception as error:
                    call = plan.throw(error)
                else:
                    call = plan.send(response)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


def _method(client: Any, call: Call) -> Callable[..., Any]:
    for part in call.method.split("."):
        client = getattr(client, part)
    return client  # type: ignore[no-any-return]


class Planned(Generic[P, R]):
    """A method that runs a plan under the decision for its ``context=``.

    Args:
        plan: takes the decision, what is known of the indices, and the method's keywords.
    """

    def __init__(self, plan: Callable[Concatenate[Decision, Knowledge, P], Plan[R]]) -> None:
        run: Callable[..., Plan[R]] = plan

        def method(client: Any, *, context: Any = None, **arguments: Any) -> Any:
            return client._run(run(client.decision(context), client._knowledge, **arguments))

        method.__name__ = method.__qualname__ = plan.__name__
        method.__doc__ = self.__doc__ = plan.__doc__
        method.__signature__ = _signature(plan)  # type: ignore[attr-defined]
        self._method = method

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: PlainRunner, owner: type) -> Callable[P, R]: ...
    @overload
    def __get__(self, client: AsyncRunner, owner: type) -> Callable[P, Awaitable[R]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self._method if client is None else MethodType(self._method, client)


class Passed(Generic[P, R, A]):
    """A method that returns nothing of any document, handed on as it is.

    Args:
        plain: the method of the plain Elasticsearch client.
        asynchronous: that of the asynchronous one, with the same keywords.
    """

    def __init__(
        self, plain: Callable[Concatenate[Any, P], R], asynchronous: Callable[..., A]
    ) -> None:
        self._name = plain.__name__
        self.__doc__ = plain.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: PlainRunner, owner: type) -> Callable[P, R]: ...
    @overload
    def __get__(self, client: AsyncRunner, owner: type) -> Callable[P, A]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self if client is None else getattr(client.client, self._name)


class Group(Generic[R, A]):
    """A group of calls that administer, as the plain or the asynchronous client has it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: PlainRunner, owner: type) -> R: ...
    @overload
    def __get__(self, client: AsyncRunner, owner: type) -> A: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self if client is None else getattr(client.client, self._name)


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
