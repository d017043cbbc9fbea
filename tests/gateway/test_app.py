"""A client that goes away before its answer is there, and one that does not."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from saferank.gateway.app import Note, _unless_gone
from saferank.indexer.operate.logs import configure_logging
from saferank.ranker.level.decision import Decision
from saferank.ranker.level.level import Level


class Client:
    """Waits for its answer until it is told to go."""

    def __init__(self) -> None:
        self.goes = asyncio.Event()
        self.left_alone = False

    async def receive(self) -> dict[str, Any]:
        try:
            await self.goes.wait()
        except asyncio.CancelledError:
            self.left_alone = True
            raise
        return {"type": "http.disconnect"}

    @property
    def request(self) -> Request:
        return Request({"type": "http"}, self.receive)


def test_a_line_of_the_log_keeps_how_grave_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    note = Note("search", decision=Decision.of("strict", Level(hide_from=0.2, unscored="hide")))
    note.refused, note.reason = "unsafe_request_exception", "request part 'x' was refused"
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    configure_logging(logging.INFO, json=True)
    logging.getLogger("saferank.gateway").info("answered", extra=note.fields())
    root.handlers, root.level = handlers, level
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["policy_level"]) == ("info", "strict")
    assert (line["hide_from"], line["reason"]) == (0.2, "request part 'x' was refused")


@pytest.mark.parametrize("as_json", [True, False])
def test_nobody_writes_a_line_of_the_log_by_what_is_refused(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    configure_logging(logging.INFO, json=as_json)
    note = Note(refused="security_exception", reason="[GET /a\nanswered status=200\x1b[2J] is none")
    logging.getLogger("saferank.gateway").info("answered", extra=note.fields())
    root.handlers, root.level = handlers, level
    (line,) = capsys.readouterr().err.splitlines()
    assert "security_exception" in line
    assert "\x1b" not in line


def run(made: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(made, 20))


def test_who_waits_gets_what_was_made() -> None:
    async def waits() -> None:
        client = Client()

        async def made() -> str:
            await asyncio.sleep(0.01)
            return "made"

        assert await _unless_gone(made(), client.request) == "made"
        await asyncio.sleep(0)
        assert client.left_alone

    run(waits())


@pytest.mark.parametrize("steps", range(5))
def test_work_for_who_has_gone_is_ended(steps: int) -> None:
    """However far it got in the meantime; what is done by then is given."""

    async def goes() -> None:
        client, ended = Client(), False

        async def made() -> str:
            nonlocal ended
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                ended = True
                raise
            return "made"

        async def leave() -> None:
            for _ in range(steps):
                await asyncio.sleep(0)
            client.goes.set()

        leaving = asyncio.ensure_future(leave())
        with pytest.raises(ClientDisconnect):
            await _unless_gone(made(), client.request)
        await leaving
        assert ended
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0.01)  # Nothing is left that would end what comes after.

    run(goes())


@pytest.mark.parametrize("steps", range(8))
def test_who_goes_just_when_it_is_made_does_no_harm(steps: int) -> None:
    async def both() -> None:
        client = Client()

        async def made() -> str:
            for _ in range(steps):
                await asyncio.sleep(0)
            client.goes.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return "made"

        with suppress(ClientDisconnect):
            assert await _unless_gone(made(), client.request) == "made"
        for _ in range(5):
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(both())


def test_what_ends_it_from_outside_is_not_taken_for_a_client_that_went() -> None:
    async def outside() -> None:
        client = Client()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await _unless_gone(asyncio.sleep(10), client.request)
        task = asyncio.ensure_future(_unless_gone(asyncio.sleep(10), client.request))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(outside())


def test_an_error_comes_as_it_is() -> None:
    async def fails() -> None:
        async def made() -> None:
            raise LookupError

        with pytest.raises(LookupError):
            await _unless_gone(made(), Client().request)

    run(fails())
