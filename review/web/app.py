"""Addresses and what answers there.

=====================  =========================================================================
GET /                  the queues
GET /queue/NAME        leads to the next item, which is the reviewer's from then on
GET /queue/NAME/item   one item
GET /queue/NAME/many   several at once
POST /decide           allow, block or skip one item or several
POST /undo             take back entries
GET /log               what was done, newest first
GET /picture           a picture of a document, fetched and encoded here
GET /facts             agreement, pace, shares
GET /metrics           the same for Prometheus
GET /labels.csv        decisions as a table
POST /reports          an application asks for a document to be looked at
=====================  =========================================================================
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from saferank.errors import ConfigurationError, ImageError, MappingError, ModelError, SaferankError
from saferank.review.desk import MANY, Desk, Form, Refused
from saferank.review.entries import Act, Entry, Item, Standing
from saferank.review.facts import Facts, facts_of
from saferank.review.labels import label_rows, to_csv
from saferank.review.people import People, Person, Role
from saferank.review.pictures import MEDIA_TYPE, Pictures, Wanted
from saferank.review.queues import ReviewQueue, thresholds_of
from saferank.review.web.forms import (
    MONTH,
    item_address,
    led_to,
    number_of,
    picture_address,
    sent_of,
    set_cookie,
    text_of,
)
from saferank.review.web.guard import (
    FOREIGN_FORM,
    FORM_COOKIE,
    TOKEN_COOKIE,
    Guard,
    Guarded,
    check_form,
    form_field,
    new_secret,
)
from saferank.review.web.metrics import MEDIA_TYPE as MEDIA_TYPE_OF_METRICS
from saferank.review.web.metrics import exposition
from saferank.settings import Settings

VIEW_COOKIE = "saferank_view"
VIEW = ("blur", "grey", "keys")
"""What a reviewer may switch off; all of it is on until then."""

_PAGES = Path(__file__).parent / "pages"
_ASSETS = {"review.css": "text/css", "review.js": "text/javascript"}
_FINISH_EVERY = 60.0
_MOST_FRAMES = 16


class ReviewApp:
    """The pages of one review.

    Args:
        desk: what reviewers do.
        pictures: what they see.
        people: who they are.
        settings: of the review.
    """

    def __init__(self, desk: Desk, pictures: Pictures, people: People, settings: Settings) -> None:
        self._desk = desk
        self._pictures = pictures
        self._people = people
        self._settings = settings
        self._guard = Guard(people, settings.review)
        self._finished_at = time.monotonic()
        self._templates = Environment(
            loader=PackageLoader("saferank.review.web", "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def asgi(self) -> Starlette:
        """The application, for any ASGI server."""
        routes = [
            Route("/", self.home),
            Route("/login", self.login_page),
            Route("/login", self.login, methods=["POST"]),
            Route("/logout", self.logout, methods=["POST"]),
            Route("/view", self.view, methods=["POST"]),
            Route("/queue/{name}", self.next_item),
            Route("/queue/{name}/item", self.item),
            Route("/queue/{name}/many", self.many),
            Route("/decide", self.decide, methods=["POST"]),
            Route("/undo", self.undo, methods=["POST"]),
            Route("/log", self.log),
            Route("/picture", self.picture),
            Route("/facts", self.facts),
            Route("/metrics", self.metrics),
            Route("/labels.csv", self.labels),
            Route("/reports", self.report, methods=["POST"]),
            Route("/assets/{name}", self.asset),
        ]
        answers: dict[Any, Callable[..., Any]] = {
            HTTPException: self._refused,
            Refused: self._not_stored,
            MappingError: self._not_stored,
            ConfigurationError: self._not_stored,
            ApiError: self._not_stored,
            TransportError: self._not_stored,
        }
        return Starlette(
            routes=routes,
            middleware=[Middleware(Guarded, guard=self._guard)],
            exception_handlers=answers,
        )

    # Pages

    def home(self, request: Request) -> Response:
        """Offer the queues."""
        person = self._guard.person(request)
        if person is None:
            return RedirectResponse("/login", 303)
        self._guard.check(request, Role.VIEW)
        then = None
        if time.monotonic() - self._finished_at > _FINISH_EVERY:
            self._finished_at = time.monotonic()
            self._desk.projection.settle_unsettled()
            then = BackgroundTask(self._desk.projection.look_closer, self._desk.index)
        counts = {
            queue.name: self._desk.work.count(self._desk.index, queue.work)
            for queue in self._desk.queues.values()
            if queue.work is not None
        }
        page = self._page(request, person, "home.html", counts=counts)
        page.background = then
        return page

    def next_item(self, request: Request) -> Response:
        """Lead to the next item of a queue."""
        person, queue = self._guard.check(request, Role.DECIDE), self._queue(request)
        taken = self._desk.take(queue, person.name)
        if not taken:
            return self._empty(request, person, queue)
        return RedirectResponse(item_address(queue.name, taken[0]), 303)

    def item(self, request: Request) -> Response:
        """Show one item."""
        person, queue = self._guard.check(request, Role.DECIDE), self._queue(request)
        item = self._item(request.query_params)
        standing = self._desk.hold(item, person.name)
        try:
            subject = self._desk.see(item)
        except MappingError:
            # It waits for nobody any more.
            self._desk.work.settle(item, Standing(), done_by=person.name)
            raise
        return self._page(
            request,
            person,
            "item.html",
            queue=queue,
            subject=subject,
            standing=standing,
            token=uuid.uuid4().hex,
            last=self._desk.last_action(person.name),
            next_queue=self._after(queue),
        )

    def many(self, request: Request) -> Response:
        """Show several items at once."""
        person, queue = self._guard.check(request, Role.DECIDE), self._queue(request)
        shown = []
        for item in self._desk.take(queue, person.name, MANY):
            try:
                subject = self._desk.see(item)
            except MappingError:
                self._desk.work.settle(item, Standing(), done_by=person.name)
                continue
            shown.append((subject, len(self._desk.log.chain(item)), uuid.uuid4().hex))
        if not shown:
            return self._empty(request, person, queue)
        return self._page(
            request,
            person,
            "many.html",
            queue=queue,
            shown=shown,
            batch=uuid.uuid4().hex,
            last=self._desk.last_action(person.name),
            next_queue=self._after(queue),
        )

    def _empty(self, request: Request, person: Person, queue: ReviewQueue) -> Response:
        """Say that nothing is left, with the way back from the last decision."""
        last = self._desk.last_action(person.name)
        return self._page(
            request, person, "empty.html", queue=queue, last=last, next_queue=self._after(queue)
        )

    def log(self, request: Request) -> Response:
        """Show what was done last, by anybody."""
        person = self._guard.check(request, Role.VIEW)
        entries = self._desk.log.newest(size=200)
        undone = {(entry.item, entry.undoes) for entry in entries if entry.act is Act.UNDO}
        return self._page(request, person, "log.html", entries=entries, undone=undone)

    def facts(self, request: Request) -> Response:
        """Show how the work goes."""
        person = self._guard.check(request, Role.VIEW)
        return self._page(request, person, "facts.html", facts=self._facts())

    def metrics(self, request: Request) -> Response:
        """Give the same to Prometheus, and how much is open."""
        self._guard.check(request, Role.VIEW)
        desk = self._desk
        open_items = {kind: desk.work.count(desk.index, kind) for kind in ("reported", "waiting")}
        return Response(exposition(self._facts(), open_items), media_type=MEDIA_TYPE_OF_METRICS)

    def _facts(self) -> Facts:
        thresholds = thresholds_of(self._desk.policy)
        return facts_of(self._desk.log.entries(index=self._desk.index), thresholds)

    def labels(self, request: Request) -> Response:
        """Give all decisions as CSV."""
        self._guard.check(request, Role.VIEW)
        rows = label_rows(self._desk.log.entries(index=self._desk.index))
        return StreamingResponse(
            to_csv(rows),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": "attachment; filename=labels.csv"},
        )

    def picture(self, request: Request) -> Response:
        """Give a picture, or the reason why there is none as text."""
        self._guard.check(request, Role.VIEW)
        asked = request.query_params
        try:
            subject = self._desk.see(self._item(asked))
            wanted = Wanted(
                number_of(asked.get("place")),
                number_of(asked.get("frame")),
                small="small" in asked,
                with_map="map" in asked,
                grey="grey" in asked,
            )
            data = self._pictures.picture(subject, wanted)
        except (ImageError, ModelError) as error:
            return PlainTextResponse(str(error), 422)
        return Response(data, media_type=MEDIA_TYPE, headers={"Cache-Control": "private, no-cache"})

    def asset(self, request: Request) -> Response:
        """Give the style sheet or the script."""
        name = request.path_params["name"]
        if name not in _ASSETS:
            raise HTTPException(404, "There is no such file.")
        return FileResponse(_PAGES / name, media_type=_ASSETS[name])

    # Acts

    async def decide(self, request: Request) -> Response:
        """Store decisions about one item or several."""
        form = await request.form()
        person = self._checked(request, form, Role.DECIDE)
        queue = self._desk.queues.get(text_of(form, "queue"))
        if queue is None or text_of(form, "act") not in ("allow", "block", "skip"):
            raise HTTPException(403, FOREIGN_FORM)
        act, batch = Act(text_of(form, "act")), text_of(form, "batch") or None
        reason = text_of(form, "reason")
        decisions = [
            (
                Item(self._desk.index, one["id"], one["routing"]),
                Form(one["token"], one["seen"], one["version"], queue.name, reason, batch),
            )
            for one in sent_of(form, "item", id=str, token=str, version=str, seen=int)
        ]
        if not decisions:
            raise Refused("nothing is selected; select documents first")
        problems = await run_in_threadpool(self._store, person, act, decisions)
        if problems:
            done = len(decisions) - len(problems)
            raise Refused(f"{done} were stored, and these were not: {'; '.join(problems)}")

        def look_closer() -> None:
            for item, _ in decisions if act is Act.BLOCK else ():
                self._desk.projection.look_closer(item.index, item)

        many = "/many" if batch is not None else ""
        return led_to(request, f"/queue/{queue.name}{many}", then=BackgroundTask(look_closer))

    def _store(self, person: Person, act: Act, decisions: Sequence[tuple[Item, Form]]) -> list[str]:
        """Store what can be stored; of several at once, say what could not."""
        problems = []
        for item, form in decisions:
            try:
                self._desk.decide(item, person.name, act, form)
            except (Refused, MappingError) as error:
                if form.batch is None:
                    raise
                problems.append(f"{item.id}: {error}")
        return problems

    async def undo(self, request: Request) -> Response:
        """Take entries back."""
        form = await request.form()
        person = self._checked(request, form, Role.DECIDE)
        others = person.role.may(Role.UNDO_OTHERS)
        named = sent_of(form, "entry", id=str, number=int)

        def take_back() -> list[Entry]:
            undone = []
            for one in named:
                chain = self._desk.log.chain(Item(self._desk.index, one["id"], one["routing"]))
                entry = next((each for each in chain if each.number == one["number"]), None)
                if entry is None:
                    raise Refused("there is no such entry to take back")
                if entry.by != person.name and not others:
                    raise HTTPException(403, "You may take back only what you said yourself.")
                # Sent twice, it is done once.
                if not any(each.undoes == entry.number for each in chain):
                    self._desk.undo(entry, person.name, others=others)
                undone.append(entry)
            return undone

        undone = await run_in_threadpool(take_back)
        if text_of(form, "back") == "log" or not undone or undone[0].queue not in self._desk.queues:
            return led_to(request, "/log")
        if len(undone) > 1:
            return led_to(request, f"/queue/{undone[0].queue}/many")
        return led_to(request, item_address(undone[0].queue or "", undone[0].item))

    async def report(self, request: Request) -> Response:
        """Take an application's report: ``{"id": …, "routing": …, "reason": …}``."""
        person = self._guard.check(request, Role.REPORT)
        try:
            said = await request.json()
            item = Item(self._desk.index, said["id"], said.get("routing"))
            reporter, reason = said.get("by"), said.get("reason")
            texts = [item.id, item.routing or "", reporter or "", reason or ""]
            if not item.id or not all(isinstance(text, str) for text in texts):
                raise TypeError
        except (ValueError, TypeError, KeyError, AttributeError):
            problem = 'a report is {"id": "…"}, with "routing", "reason" and "by" as text if known'
            return JSONResponse({"error": problem}, 400)
        by = f"{person.name}/{reporter[:100]}" if reporter else person.name
        new = await run_in_threadpool(self._desk.report, item, by, reason)
        return JSONResponse({"reported": True, "new": new}, 201 if new else 200)

    # Signing in

    def login_page(self, request: Request) -> Response:
        """Ask for a token."""
        return self._page(request, None, "login.html", problem=None)

    async def login(self, request: Request) -> Response:
        """Take a token."""
        form = await request.form()
        check_form(request, text_of(form, "form"))
        token = text_of(form, "token").strip()
        person = self._people.by_token(token)
        if person is None or not person.role.may(Role.VIEW):
            problem = "Nobody has this token, or it is an application's."
            return self._page(request, None, "login.html", status=403, problem=problem)
        response = RedirectResponse("/", 303)
        set_cookie(response, request, TOKEN_COOKIE, token)
        return response

    async def logout(self, request: Request) -> Response:
        """Forget the token."""
        form = await request.form()
        check_form(request, text_of(form, "form"))
        response = RedirectResponse("/login", 303)
        response.delete_cookie(TOKEN_COOKIE, path="/", httponly=True, samesite="strict")
        return response

    async def view(self, request: Request) -> Response:
        """Keep how a reviewer wants to see pictures."""
        form = await request.form()
        check_form(request, text_of(form, "form"))
        chosen = [name for name in VIEW if name in form]
        response = RedirectResponse("/", 303)
        set_cookie(
            response, request, VIEW_COOKIE, " ".join(chosen) or "nothing", seconds=12 * MONTH
        )
        return response

    # Parts

    def _checked(self, request: Request, form: FormData, role: Role) -> Person:
        person = self._guard.check(request, role)
        check_form(request, text_of(form, "form"))
        return person

    def _queue(self, request: Request) -> ReviewQueue:
        name = request.path_params["name"]
        if name not in self._desk.queues:
            raise HTTPException(404, "There is no such queue; the policy may have changed.")
        return self._desk.queues[name]

    def _after(self, queue: ReviewQueue) -> ReviewQueue:
        queues = list(self._desk.queues.values())
        return queues[(queues.index(queue) + 1) % len(queues)]

    def _item(self, asked: Mapping[str, str]) -> Item:
        if not asked.get("id"):
            raise HTTPException(404, "There is no such document.")
        return Item(self._desk.index, asked["id"], asked.get("routing"))

    def _page(
        self, request: Request, person: Person | None, name: str, *, status: int = 200, **shown: Any
    ) -> Response:
        secret = request.cookies.get(FORM_COOKIE) or new_secret()
        wanted = request.cookies.get(VIEW_COOKIE)
        text = self._templates.get_template(name).render(
            person=person,
            signed_in_by_token=TOKEN_COOKIE in request.cookies,
            queues=self._desk.queues.values(),
            index=self._desk.index,
            form_field=form_field(secret),
            view=VIEW if wanted is None else wanted.split(),
            reason_for=self._settings.review.reason_for,
            as_json=json.dumps,
            item_address=item_address,
            picture_address=picture_address,
            most_frames=_MOST_FRAMES,
            Role=Role,
            Act=Act,
            **shown,
        )
        response = HTMLResponse(text, status)
        if FORM_COOKIE not in request.cookies:
            set_cookie(response, request, FORM_COOKIE, secret)
        return response

    def _refused(self, request: Request, error: HTTPException) -> Response:
        return self._problem(request, error.status_code, str(error.detail))

    def _not_stored(self, request: Request, error: Exception) -> Response:
        if isinstance(error, SaferankError):
            status = 503 if isinstance(error, ConfigurationError) else 409
            return self._problem(request, status, str(error))
        return self._problem(request, 503, f"Elasticsearch does not serve a request: {error}")

    def _problem(self, request: Request, status: int, reason: str) -> Response:
        wants_json = "application/json" in request.headers.get("accept", "")
        if wants_json or request.url.path == "/reports":
            return JSONResponse({"error": reason}, status)
        try:
            person = self._guard.person(request)
        except ConfigurationError:
            person = None
        stored = request.method == "POST"
        return self._page(
            request, person, "problem.html", status=status, reason=reason, not_stored=stored
        )
