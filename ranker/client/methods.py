"""Methods of the safe clients that carry the signatures of the Elasticsearch client's.

``Planned`` runs a plan; ``Passed`` hands a call on to the Elasticsearch client as it is. Both are
typed by what they are made of, once for the plain and the asynchronous client.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from saferank.ranker.client.flow import Knowledge, Plan
from saferank.ranker.level.decision import Decision

if TYPE_CHECKING:
    from saferank.ranker.client.client import AsyncSafeSearch, SafeSearch

P = ParamSpec("P")
R = TypeVar("R")


class Planned(Generic[P, R]):
    """A method that runs a plan under the decision for its ``context=``.

    Args:
        plan: takes the decision, what is known of the indices, and the method's keywords.
    """

    def __init__(self, plan: Callable[Concatenate[Decision, Knowledge, P], Plan[R]]) -> None:
        def method(client: Any, *, context: Any = None, **arguments: Any) -> Any:
            return client._run(plan(client.decision(context), client._knowledge, **arguments))  # type: ignore[call-arg]

        method.__name__ = method.__qualname__ = plan.__name__
        method.__doc__ = self.__doc__ = plan.__doc__
        method.__signature__ = _signature(plan)  # type: ignore[attr-defined]
        self._method = method

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: SafeSearch, owner: type) -> Callable[P, R]: ...
    @overload
    def __get__(self, client: AsyncSafeSearch, owner: type) -> Callable[P, Awaitable[R]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self._method if client is None else MethodType(self._method, client)


class Passed(Generic[P, R]):
    """A method that returns nothing of any document, handed on as it is.

    Args:
        method: of the Elasticsearch client's class.
    """

    def __init__(self, method: Callable[Concatenate[Any, P], R]) -> None:
        self._name = method.__name__
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: object, owner: type) -> Callable[P, R]: ...
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
