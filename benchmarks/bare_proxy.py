"""A proxy that reads nothing of what it passes on: what any such process costs, whatever it does.

python benchmarks/bare_proxy.py http://localhost:9200 9281
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def bare_proxy(upstream: str) -> Starlette:
    """The application; its connections are kept open, as the gateway's are."""

    @asynccontextmanager
    async def connected(app: Starlette) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=100)
        async with aiohttp.ClientSession(connector=connector) as session:
            app.state.session = session
            yield

    async def pass_on(request: Request) -> Response:
        sent = request.app.state.session.request(
            request.method,
            f"{upstream}{request.url.path}",
            data=await request.body(),
            headers={"Content-Type": "application/json"},
        )
        async with sent as answer:
            return Response(await answer.read(), answer.status, media_type="application/json")

    methods = ["DELETE", "GET", "POST", "PUT"]
    return Starlette(routes=[Route("/{path:path}", pass_on, methods=methods)], lifespan=connected)


if __name__ == "__main__":
    url, port = sys.argv[1:]
    uvicorn.run(bare_proxy(url), port=int(port), http="httptools", access_log=False)
