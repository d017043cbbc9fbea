"""An image search with FastAPI: ``uvicorn fastapi_photos:app``; docs/how-to/fastapi.md explains."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from elasticsearch import ApiError, AsyncElasticsearch, TransportError
from fastapi import BackgroundTasks, Cookie, Depends, FastAPI, Form, HTTPException, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.requests import Request
from starlette.responses import Response

from saferank import AsyncSafeSearch, SaferankError, load_policy, queue_documents
from saferank.web import (
    BLUR_CSS,
    is_waiting,
    level_choices,
    read_cursor,
    request_context,
    status_of,
    without_safety,
    write_cursor,
)

HERE = Path(__file__).parent
FOLDER = Path(os.environ.get("PHOTOS", "photos")).resolve()
FOLDER.mkdir(exist_ok=True)
KINDS = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}

log = logging.getLogger(__name__)
policy = load_policy(HERE / "policy.yaml")


# [context]
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    plain = AsyncElasticsearch(os.environ["SAFERANK_ELASTICSEARCH_URL"])
    async with AsyncSafeSearch(plain, policy, require_context=True) as client:
        app.state.client = client
        yield


def context_of(
    request: Request, response: Response, safesearch: Annotated[str | None, Cookie()] = None
) -> dict[str, str]:
    """What the policy may know of a request; who is a child, your log-in knows."""
    response.headers["Cache-Control"] = "private"  # Another visitor may see another page.
    return request_context(policy, safesearch, audience=request.headers.get("x-audience"))


Context = Annotated[dict[str, str], Depends(context_of)]


def client_for(request: Request, context: Context) -> AsyncSafeSearch:
    client: AsyncSafeSearch = request.app.state.client
    return client.bind(context)


Client = Annotated[AsyncSafeSearch, Depends(client_for)]
# [end]

app = FastAPI(lifespan=lifespan)
app.mount("/files", StaticFiles(directory=FOLDER))


# [errors]
def failed(_request: Request, error: Exception) -> JSONResponse:
    status = HTTPStatus(status_of(error))
    if status >= 500:
        log.error("a request failed", exc_info=error)
    elif status == HTTPStatus.BAD_REQUEST:
        log.warning("a request was refused: %s", error)
    return JSONResponse({"error": status.phrase}, status)


for kind in (SaferankError, ApiError, TransportError):
    app.add_exception_handler(kind, failed)
# [end]


@app.get("/")
def page() -> FileResponse:
    return FileResponse(HERE / "fastapi_photos.html")


@app.get("/blur.css")
def blur_css() -> Response:
    return Response(BLUR_CSS, media_type="text/css")


# [level]
@app.get("/levels")
def levels(context: Context) -> dict[str, bool]:
    """The levels that this visitor may choose among, and which one holds."""
    return {choice.level: choice.holds for choice in level_choices(policy, context)}


@app.post("/levels/{level}", status_code=HTTPStatus.NO_CONTENT)
def choose_level(level: str, response: Response) -> None:
    response.set_cookie("safesearch", level, max_age=365 * 86_400, samesite="lax", httponly=True)


# [end]


# [search]
@app.get("/search")
async def search(
    client: Client, words: str = "", tag: str | None = None, after: str | None = None
) -> dict[str, Any]:
    """A page of hits; ``after`` is the ``next`` of the page before."""
    decision = client.decision()
    behind = read_cursor(after, decision)
    query: dict[str, Any] = {"match": {"title": words}} if words else {"match_all": {}}
    found = await client.search(
        index="photos",
        query={"bool": {"must": [query], "filter": [{"term": {"tag": tag}}] if tag else []}},
        sort=[{"_score": "desc"}, {"id": "asc"}],
        search_after=behind,
        size=12,
        aggs={"tags": {"terms": {"field": "tag"}}},
    )
    hits = found["hits"]["hits"]
    return {
        "first": behind is None,  # After a change of level the list begins anew.
        "total": found["hits"]["total"]["value"],
        "tags": {tag["key"]: tag["doc_count"] for tag in found["aggregations"]["tags"]["buckets"]},
        "photos": [card(hit) for hit in hits],
        "next": write_cursor(hits[-1], decision) if len(hits) == 12 else None,
    }


def card(hit: dict[str, Any]) -> dict[str, Any]:
    """What a page needs of a hit."""
    source = hit["_source"]
    return {
        "id": hit["_id"],
        "title": source["title"],
        "address": f"/files/{source['file']}",
        "blur": hit["saferank"]["blur"],
        "waiting": is_waiting(hit),
    }


# [end]


# [detail]
@app.get("/photos/{photo}")
async def detail(photo: str, client: Client) -> dict[str, Any]:
    """One document; a hidden one is answered as one that is not there."""
    hit = (await client.get(index="photos", id=photo)).body
    public = without_safety(hit["_source"], policy)
    del public["image"]  # Where the server has the picture.
    like = {"fields": ["title"], "like": [{"_id": photo}], "min_term_freq": 1, "min_doc_freq": 1}
    related = await client.search(index="photos", query={"more_like_this": like}, size=4)
    return {**public, **card(hit), "related": [card(one) for one in related["hits"]["hits"]]}


@app.get("/suggestions")
async def suggestions(words: str, client: Client) -> list[str]:
    """Titles that go on as what was typed so far."""
    query = {"match_bool_prefix": {"title": {"query": words, "operator": "and"}}}
    found = await client.search(index="photos", query=query, source=["title"], size=8)
    return list(dict.fromkeys(hit["_source"]["title"] for hit in found["hits"]["hits"]))


# [end]


# [upload]
@app.post("/photos", status_code=HTTPStatus.ACCEPTED)
async def upload(
    picture: UploadFile,
    title: Annotated[str, Form()],
    tag: Annotated[str, Form()],
    client: Client,
    tasks: BackgroundTasks,
) -> dict[str, str]:
    """Keep a picture and have it scored; until then the level's ``unscored`` holds for it."""
    suffix = KINDS.get(picture.content_type or "")
    if suffix is None:
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send one of {', '.join(KINDS)}")
    photo = uuid.uuid4().hex
    path = FOLDER / f"{photo}{suffix}"
    await run_in_threadpool(path.write_bytes, await picture.read())
    document = {"id": photo, "title": title, "tag": tag, "file": path.name, "image": path.as_uri()}
    await client.index(index="photos", id=photo, document=document)
    tasks.add_task(have_scored, photo)
    return {"id": photo}


def have_scored(photo: str) -> None:
    try:
        queue_documents("photos", photo)
    except SaferankError as error:  # Nothing is lost: the workers' sweep finds it.
        log.error("photo %s was not queued: %s", photo, error)


# [end]
