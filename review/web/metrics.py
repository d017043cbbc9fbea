"""What the review tells Prometheus: the facts of its log, and what is open."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from saferank.review.facts import Facts

MEDIA_TYPE = CONTENT_TYPE_LATEST


def exposition(facts: Facts, open_items: Mapping[str, int]) -> bytes:
    """The figures in the form that Prometheus reads.

    All are computed from the log, so they are the same whichever process is asked, and go on after
    a restart. They may fall, when something is taken back.

    Args:
        facts: of the log.
        open_items: how many items are open, by kind: ``reported``, ``waiting``.
    """
    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"saferank_review_{name}", text, labels, registry=registry)

    gauge("items_decided", "Documents that somebody decided about").set(facts.items)
    waiting = gauge("items_open", "Documents that wait for a decision, by kind", "kind")
    for kind, count in open_items.items():
        waiting.labels(kind).set(count)
    decisions = gauge("decisions", "Decisions that were not taken back, by reviewer", "person")
    skipped = gauge("skipped", "Documents left to others, by reviewer", "person")
    pace = gauge("decisions_per_hour", "Decisions an hour of work, by reviewer", "person")
    for one in facts.pace:
        decisions.labels(one.person).set(one.decisions)
        skipped.labels(one.person).set(one.skipped)
        if one.per_hour is not None:
            pace.labels(one.person).set(one.per_hour)
    kappa = gauge("kappa", "Cohen's kappa of two reviewers", "first", "second")
    for pair in facts.agreement:
        if pair.kappa is not None:
            kappa.labels(*pair.people).set(pair.kappa)
    decided = gauge("band_decided", "Documents decided, by range of the probability", "band")
    blocked = gauge("band_blocked", "Of these, blocked", "band")
    for band in facts.bands:
        decided.labels(band.name).set(band.of)
        blocked.labels(band.name).set(band.blocked)
    gauge("audit_decided", "Documents of the audit that were decided").set(facts.audit.of)
    gauge("audit_blocked", "Of these, blocked").set(facts.audit.blocked)
    return generate_latest(registry)
