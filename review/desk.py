"""What reviewers do, without HTTP: take an item, decide, undo; and what applications do: report.

Every act is: mark the item, add an entry to the log, write the override, let go of the item. A
process that ends in between leaves the mark, and the next one finishes what the log says.
"""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from elasticsearch import Elasticsearch

from saferank.errors import SaferankError
from saferank.mappings.override_index import find_documents
from saferank.ranker.policy.policy import OneCategoryPolicy
from saferank.review.entries import DECIDING, LONGEST_REASON, Act, Entry, Item, Standing, live
from saferank.review.log import Overtaken
from saferank.review.projection import Projection
from saferank.review.queues import ReviewQueue, Search, policy_version, review_queues
from saferank.review.subject import Subject
from saferank.settings import Settings

MANY = 24
"""Items that are looked at together."""

_PAGE = 100
_DEEPEST = 10_000  # hits of a search that the engine gives by their place
_ATTEMPTS = 20


class Refused(SaferankError):
    """An act that was not done; nothing was stored."""


@dataclass(frozen=True, slots=True)
class Form:
    """What was sent with an act on an item that was looked at.

    Attributes:
        token: made for this form; the same one sent twice is done once.
        seen: entries of the item's chain when it was shown.
        version: of the subject that was shown.
        queue: in which it was met.
        reason: why, if it was said.
        batch: the same for all items of one action.
    """

    token: str
    seen: int
    version: str
    queue: str | None = None
    reason: str | None = None
    batch: str | None = None


class Desk:
    """The review of one index.

    Args:
        client: connected.
        index: index or alias that is reviewed.
        settings: names of fields and indices, and what reviews are like.
        policy: its thresholds make the queues.
        sample: documents that were drawn to be labelled, as a queue of their own.
    """

    def __init__(
        self,
        client: Elasticsearch,
        index: str,
        settings: Settings,
        policy: OneCategoryPolicy,
        sample: tuple[Item, ...] | None = None,
    ) -> None:
        self.index = index
        self.policy = policy
        self.opinions = settings.review.opinions
        self.queues = review_queues(policy, opinions=self.opinions, sample=sample)
        self.projection = Projection.of(client, settings)
        self.fields = self.projection.fields
        self.log = self.projection.log
        self.work = self.projection.work
        self._client = client
        self._settings = settings
        self._version = policy_version(policy)

    def install(self) -> None:
        """Make the indices, and finish what another process may have left."""
        self.log.install()
        self.work.install()
        self.projection.settle_unsettled()

    # Taking

    def take(self, queue: ReviewQueue, person: str, most: int = 1) -> list[Item]:
        """Hold the next items of a queue for a reviewer; none when nothing is left."""
        return list(islice(self._takeable(queue, person), most))

    def hold(self, item: Item, person: str) -> Standing:
        """Hold an item, or hold it for longer.

        Raises:
            Refused: another reviewer has it.
        """
        if not self.work.acquire(item, person):
            raise Refused("another reviewer has this document before them; take the next one")
        return Standing.of(self.log.chain(item))

    def see(self, item: Item) -> Subject:
        """Read what there is to see of an item.

        Raises:
            MappingError: there is no such document.
        """
        found = find_documents(self._client, self.fields, item.index, item.id, item.routing)
        return Subject.of(
            item,
            found[0]["_source"],
            self.fields,
            self._settings.image_field,
            self._settings.review.show_fields,
        )

    def _takeable(self, queue: ReviewQueue, person: str) -> Iterator[Item]:
        for items in self._pages(queue):
            holders = self.work.holders(items)
            free = [item for item in items if holders.get(item, person) == person]
            chains = self.log.chains(free)
            for item in free:
                if not Standing.of(chains[item]).is_open_to(person):
                    continue
                if not self.work.acquire(item, person):
                    continue
                # It may have been decided, and let go, since its chain was read.
                if Standing.of(self.log.chain(item)).is_open_to(person):
                    yield item
                else:
                    self.work.release(item, person)

    def _pages(self, queue: ReviewQueue) -> Iterator[list[Item]]:
        if queue.items is not None:
            items = iter(queue.items)
        elif queue.work is not None:
            items = self.work.open(self.index, queue.work)
        else:
            ways = [self._hits(search) for search in queue.searches]
            items = (item for _, item in heapq.merge(*ways, key=lambda found: found[0]))
        seen: set[Item] = set()
        while page := list(islice(items, _PAGE)):
            yield [item for item in dict.fromkeys(page) if item not in seen]
            seen.update(page)

    def _hits(self, search: Search) -> Iterator[tuple[float, Item]]:
        for start in range(0, _DEEPEST, _PAGE):
            hits = self._client.search(
                index=self.index,
                query=search.query,
                sort=search.sort,
                source=False,
                from_=start,
                size=_PAGE,
                track_total_hits=False,
            )["hits"]["hits"]
            for hit in hits:
                yield (
                    search.distance(hit["sort"][0]),
                    Item(self.index, hit["_id"], hit.get("_routing")),
                )
            if len(hits) < _PAGE:
                return

    # Acting

    def decide(self, item: Item, person: str, act: Act, form: Form) -> Entry:
        """Allow, block or skip an item that was shown to a reviewer.

        Returns:
            The entry; the one that is there when the same form was stored before.

        Raises:
            Refused: somebody else has said something meanwhile or holds the item, the document
                has other images by now, or a reason is missing. Nothing is stored then.
            MappingError: there is no such document, or it cannot have an override.
        """
        reason = self._reason(form, act)
        for _ in range(_ATTEMPTS):
            chain = self.log.chain(item)
            if stored := next((one for one in chain if one.token == form.token), None):
                self.projection.apply(item, done_by=person)
                return stored
            if said := [one for one in chain[form.seen :] if one.act in (*DECIDING, Act.UNDO)]:
                raise Refused(_meanwhile(said[-1]))
            if not self.work.acquire(item, person):
                raise Refused("another reviewer has this document before them; take the next one")
            subject = self.see(item)
            if subject.version != form.version:
                raise Refused("the document has other images than you saw; look again")
            first = not Standing.of(chain).opinions
            entry = Entry(
                item=item,
                act=act,
                by=person,
                token=form.token,
                queue=form.queue,
                reason=reason,
                probability=subject.probability,
                model=subject.model,
                policy=self._version,
                digests=subject.digests,
                opinions=self.opinions,
                batch=form.batch,
                before=self.projection.current(item) if first and act in DECIDING else None,
            )
            try:
                return self._store(entry, len(chain), done_by=person)
            except Overtaken:
                continue
        raise Refused("too much is being said about this document at once; try again")

    def undo(self, entry: Entry, person: str, *, others: bool = False) -> Entry:
        """Take an entry back, by another entry.

        Args:
            entry: what is to count no more.
            person: who takes it back.
            others: whether they may take back what others said.

        Raises:
            Refused: it is another's, or no longer counts.
        """
        if entry.by != person and not others:
            raise Refused(f"this was said by {entry.by!r}, and you can take back only your own")
        for _ in range(_ATTEMPTS):
            chain = self.log.chain(entry.item)
            if entry.number not in {one.number for one in live(chain)}:
                raise Refused("this was taken back before")
            undo = Entry(
                item=entry.item,
                act=Act.UNDO,
                by=person,
                token=uuid.uuid4().hex,
                queue=entry.queue,
                undoes=entry.number,
                policy=self._version,
            )
            try:
                return self._store(undo, len(chain))
            except Overtaken:
                continue
        raise Refused("too much is being said about this document at once; try again")

    def last_action(self, person: str) -> list[Entry]:
        """What a reviewer did last and has not taken back: one entry, or all of a batch."""
        mine = self.log.newest(person, size=1000)
        undone = {(one.item, one.undoes) for one in mine if one.act is Act.UNDO}
        acts = (*DECIDING, Act.SKIP)
        left = [one for one in mine if one.act in acts and (one.item, one.number) not in undone]
        if not left or left[0].batch is None:
            return left[:1]
        return [one for one in left if one.batch == left[0].batch]

    def report(self, item: Item, by: str, reason: str | None = None) -> bool:
        """Put an item before reviewers; False when the same one asked before, and waits.

        Raises:
            MappingError: there is no such document.
        """
        for _ in range(_ATTEMPTS):
            chain = self.log.chain(item)
            if any(one.by == by for one in Standing.of(chain).reports):
                return False
            subject = self.see(item)
            entry = Entry(
                item=item,
                act=Act.REPORT,
                by=by,
                token=uuid.uuid4().hex,
                reason=(reason or "").strip()[:LONGEST_REASON] or None,
                probability=subject.probability,
                model=subject.model,
                policy=self._version,
                digests=subject.digests,
            )
            try:
                self._store(entry, len(chain))
            except Overtaken:
                continue
            return True
        raise Refused("too much is being said about this document at once; try again")

    def _store(self, entry: Entry, length: int, *, done_by: str | None = None) -> Entry:
        self.work.mark(entry.item)
        stored = self.log.append(entry, length)
        self.projection.apply(entry.item, done_by=done_by)
        return stored

    def _reason(self, form: Form, act: Act) -> str | None:
        reason = (form.reason or "").strip() or None
        if reason is not None and len(reason) > LONGEST_REASON:
            raise Refused(f"a reason has at most {LONGEST_REASON} characters")
        if reason is None and act in DECIDING and form.queue in self._settings.review.reason_for:
            raise Refused("a decision needs a reason here; say why")
        return reason


def _meanwhile(entry: Entry) -> str:
    done = {Act.ALLOW: "allowed", Act.BLOCK: "blocked"}.get(entry.act)
    if done is None:
        return f"{entry.by} took a decision about this document back meanwhile; look again"
    return f"{entry.by} {done} this document meanwhile; look again"
