"""What is written in one go is sent in one piece, all of it, in its order."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from saferank.gateway.protocol import JoiningTransport

STEPS = st.lists(st.lists(st.binary(max_size=20), max_size=4), max_size=6)


class Wire:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.sent.append(data)

    def close(self) -> None:
        self.is_closed = True

    def get_extra_info(self, name: str) -> str:
        return name


def joining(wire: Wire) -> JoiningTransport:
    return JoiningTransport(cast(Any, wire))


@given(STEPS)
def test_a_step_is_one_piece_and_nothing_is_lost(steps: list[list[bytes]]) -> None:
    async def written() -> Wire:
        wire = Wire()
        transport = joining(wire)
        for parts in steps:
            for part in parts:
                transport.write(part)
            await asyncio.sleep(0)
        return wire

    assert asyncio.run(written()).sent == [b"".join(parts) for parts in steps if parts]


@given(st.lists(st.binary(max_size=20), max_size=4))
def test_what_was_written_is_sent_before_the_end(parts: list[bytes]) -> None:
    async def closed() -> Wire:
        wire = Wire()
        transport = joining(wire)
        for part in parts:
            transport.write(part)
        transport.close()
        assert wire.is_closed
        await asyncio.sleep(0)
        return wire

    assert b"".join(asyncio.run(closed()).sent) == b"".join(parts)


def test_all_else_is_the_transports_own() -> None:
    assert joining(Wire()).get_extra_info("peername") == "peername"
