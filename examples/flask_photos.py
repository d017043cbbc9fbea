"""An image search with Flask: ``flask --app flask_photos run``; docs/how-to/flask.md explains."""

from __future__ import annotations

import logging
import os
import uuid
from http import HTTPStatus
from pathlib import Path
from typing import Any

from elasticsearch import ApiError, Elasticsearch, TransportError
from flask import Flask, abort, g, redirect, render_template, request, send_from_directory, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from saferank import SaferankError, SafeSearch, load_policy, queue_documents
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
app = Flask(__name__, template_folder="flask_templates")
app.config["MAX_CONTENT_LENGTH"] = 10_000_000  # bytes


# [context]
policy = load_policy(HERE / "policy.yaml")
client = SafeSearch(
    Elasticsearch(os.environ["SAFERANK_ELASTICSEARCH_URL"]), policy, require_context=True
)


@app.before_request
def bind_client() -> None:
    """A client for this request; who is a child, your log-in knows."""
    g.context = request_context(
        policy, request.cookies.get("safesearch"), audience=request.headers.get("x-audience")
    )
    g.client = client.bind(g.context)


@app.after_request
def keep_private(response: Response) -> Response:
    response.headers["Cache-Control"] = "private"  # Another visitor may see another page.
    return response


@app.context_processor
def choices() -> dict[str, Any]:
    return {"levels": level_choices(policy, g.context)}


# [end]


# [errors]
def failed(error: Exception) -> ResponseReturnValue:
    status = HTTPStatus(status_of(error))
    if status >= 500:
        log.error("a request failed", exc_info=error)
    elif status == HTTPStatus.BAD_REQUEST:
        log.warning("a request was refused: %s", error)
    return status.phrase, status


for kind in (SaferankError, ApiError, TransportError):
    app.register_error_handler(kind, failed)
# [end]


# [level]
@app.post("/level")
def choose_level() -> ResponseReturnValue:
    answer = redirect(url_for("search"))
    level = request.form["level"]
    answer.set_cookie("safesearch", level, max_age=365 * 86_400, samesite="Lax", httponly=True)
    return answer


# [end]


# [search]
@app.get("/")
def search() -> str:
    words, tag = request.args.get("words", ""), request.args.get("tag", "")
    safe: SafeSearch = g.client
    decision = safe.decision()
    query: dict[str, Any] = {"match": {"title": words}} if words else {"match_all": {}}
    found = safe.search(
        index="photos",
        query={"bool": {"must": [query], "filter": [{"term": {"tag": tag}}] if tag else []}},
        sort=[{"_score": "desc"}, {"id": "asc"}],
        search_after=read_cursor(request.args.get("after"), decision),
        size=12,
        aggs={"tags": {"terms": {"field": "tag"}}},
    )
    hits = found["hits"]["hits"]
    return render_template(
        "photos.html",
        words=words,
        tag=tag,
        total=found["hits"]["total"]["value"],
        tags=found["aggregations"]["tags"]["buckets"],
        photos=[card(hit) for hit in hits],
        after=write_cursor(hits[-1], decision) if len(hits) == 12 else None,
    )


def card(hit: dict[str, Any]) -> dict[str, Any]:
    """What a template needs of a hit."""
    return {
        **without_safety(hit["_source"], policy),
        "blur": hit["saferank"]["blur"],
        "waiting": is_waiting(hit),
    }


# [end]


# [detail]
@app.get("/photos/<photo>")
def detail(photo: str) -> str:
    """One document; a hidden one is answered as one that is not there."""
    hit = g.client.get(index="photos", id=photo).body
    like = {"fields": ["title"], "like": [{"_id": photo}], "min_term_freq": 1, "min_doc_freq": 1}
    related = g.client.search(index="photos", query={"more_like_this": like}, size=4)
    return render_template(
        "photo.html", photo=card(hit), related=[card(one) for one in related["hits"]["hits"]]
    )


@app.get("/suggestions")
def suggestions() -> ResponseReturnValue:
    """Titles that go on as what was typed so far."""
    typed = {"query": request.args.get("words", ""), "operator": "and"}
    found = g.client.search(
        index="photos", query={"match_bool_prefix": {"title": typed}}, source=["title"], size=8
    )
    return list(dict.fromkeys(hit["_source"]["title"] for hit in found["hits"]["hits"]))


# [end]


# [upload]
@app.post("/photos")
def upload() -> ResponseReturnValue:
    """Keep a picture and have it scored; until then the level's ``unscored`` holds for it."""
    picture = request.files["picture"]
    suffix = KINDS.get(picture.mimetype)
    if suffix is None:
        abort(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    photo = uuid.uuid4().hex
    path = FOLDER / f"{photo}{suffix}"
    picture.save(path)
    document = {"id": photo, "title": request.form["title"], "tag": request.form["tag"]}
    document |= {"file": path.name, "image": path.as_uri()}
    client.index(index="photos", id=photo, document=document)
    try:
        queue_documents("photos", photo)
    except SaferankError as error:  # Nothing is lost: the workers' sweep finds it.
        log.error("photo %s was not queued: %s", photo, error)
    return "Thank you. Not everybody sees your picture until it was checked.", HTTPStatus.ACCEPTED


# [end]


@app.get("/files/<name>")
def file(name: str) -> Response:
    return send_from_directory(FOLDER, name)


@app.get("/blur.css")
def blur_css() -> Response:
    return Response(BLUR_CSS, mimetype="text/css")
