import threading
import time
from collections import Counter

from saferank.indexer.score.lanes import Lanes


def lane_of(reference: str) -> str:
    return reference.split("/")[0] if "/" in reference else ""


def lanes_of(references: list[str]) -> dict[str, str]:
    return {reference: lane_of(reference) for reference in references}


def everything(lanes: Lanes[str], tick: float = 60) -> list[tuple[str, str] | None]:
    with lanes.running():
        return list(lanes.results(tick))


def test_each_reference_is_called_once() -> None:
    references = [f"{n % 5}/{n}" for n in range(100)] + ["a", "b"]
    lanes = Lanes(str.upper, lanes_of(references), threads=8, width=2)
    assert sorted(everything(lanes)) == sorted((one, one.upper()) for one in references)
    assert lanes.lanes_at_start == 6
    assert lanes.lanes_left == 0


def test_a_stuck_lane_holds_up_no_other() -> None:
    """There are more stuck ones than threads, and they come first."""
    others_are_done = threading.Event()

    def call(reference: str) -> str:
        if reference.startswith("stuck"):
            others_are_done.wait(30)
        return reference

    references = [f"stuck/{n}" for n in range(20)] + [f"fast/{n}" for n in range(20)]
    lanes = Lanes(call, lanes_of(references), threads=4, width=3)
    with lanes.running():
        results = lanes.results(60)
        first = [next(results) for _ in range(20)]
        assert all(one is not None and one[0].startswith("fast") for one in first)
        others_are_done.set()
        assert len(list(results)) == 20


def test_a_lane_is_no_wider_than_allowed_but_the_one_without_a_name() -> None:
    active: Counter[str] = Counter()
    most: Counter[str] = Counter()
    lock = threading.Lock()

    def call(reference: str) -> str:
        lane = lane_of(reference)
        with lock:
            active[lane] += 1
            most[lane] = max(most[lane], active[lane])
        time.sleep(0.01)
        with lock:
            active[lane] -= 1
        return reference

    everything(Lanes(call, lanes_of([f"a/{n}" for n in range(20)]), threads=6, width=2))
    everything(Lanes(call, lanes_of([f"{n}" for n in range(40)]), threads=6, width=2))
    assert most["a"] <= 2 < most[""]


def test_what_was_not_started_when_it_stops_never_comes() -> None:
    lanes = Lanes(lambda one: one, lanes_of([f"{n}" for n in range(50)]), threads=2, width=2)
    with lanes.running():
        results = lanes.results(60)
        next(results)
        lanes.stop()
        assert 1 + len(list(results)) < 50


def test_where_nothing_comes_it_is_time_for_something_else() -> None:
    go = threading.Event()
    lanes = Lanes(lambda one: str(go.wait(30)), lanes_of(["a"]), threads=1, width=1)
    with lanes.running():
        results = lanes.results(0.01)
        assert next(results) is None
        go.set()
        assert ("a", "True") in list(results)
