"""Hosts are treated with courtesy."""

import threading
import time
from contextlib import suppress

import pytest

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.fetch import throttle as room
from saferank.indexer.fetch.throttle import Throttle
from saferank.settings import FetchSettings


def test_a_rate_spaces_the_requests_to_one_host():
    throttle = Throttle(FetchSettings(per_host_rate=50))
    start = time.monotonic()
    for _ in range(4):
        with throttle.slot("a"):
            pass
    # A lower bound, which no slow machine can break: three pauses of a fiftieth of a second.
    assert time.monotonic() - start >= 0.06


def test_hosts_do_not_wait_for_each_other():
    throttle = Throttle(FetchSettings(per_host=1))
    reached = threading.Event()

    def other():
        with throttle.slot("b"):
            reached.set()

    with throttle.slot("a"):
        thread = threading.Thread(target=other)
        thread.start()
        assert reached.wait(30)
        thread.join()


def test_a_place_is_given_back_when_a_request_fails():
    throttle = Throttle(FetchSettings(per_host=1))
    for _ in range(3):
        try:
            with throttle.slot("a"):
                raise OSError
        except OSError:
            continue
    assert throttle._hosts == {}  # nor are hosts remembered for ever


def test_never_more_than_allowed_at_a_time():
    throttle, lock = Throttle(FetchSettings(per_host=3)), threading.Lock()
    active, most = 0, 0

    def visit():
        nonlocal active, most
        for _ in range(50):
            with throttle.slot("a"):
                with lock:
                    active += 1
                    most = max(most, active)
                time.sleep(0.0001)
                with lock:
                    active -= 1

    threads = [threading.Thread(target=visit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most <= 3


def ask(throttle, host, error=None):
    """Whether the host was asked; the request ends with the error."""
    asked = []
    with suppress(ImageError), throttle.slot(host):
        asked.append(host)
        if error is not None:
            raise error
    return bool(asked)


def silence():
    return ImageError(ErrorCode.TIMEOUT, "no answer")


def test_a_host_that_does_not_answer_is_left_alone_and_no_other():
    throttle = Throttle(FetchSettings())
    assert [ask(throttle, "silent", silence()) for _ in range(5)] == [True] * 3 + [False] * 2
    assert ask(throttle, "other")
    with pytest.raises(ImageError, match="silent is left alone") as caught, throttle.slot("silent"):
        pass
    assert caught.value.code is ErrorCode.TIMEOUT


@pytest.mark.parametrize("answer", [None, ImageError(ErrorCode.NOT_FOUND, "none")])
def test_a_host_that_answers_now_and_then_is_not_away(answer):
    throttle = Throttle(FetchSettings())
    for _ in range(4):
        assert ask(throttle, "a", silence())
        assert ask(throttle, "a", silence())
        assert ask(throttle, "a", answer)


def test_the_pause_that_a_host_asks_for_is_kept_at_once():
    throttle = Throttle(FetchSettings())
    assert ask(throttle, "a", ImageError(ErrorCode.RATE_LIMITED, "slowly", retry_after=3600))
    with pytest.raises(ImageError) as caught, throttle.slot("a"):
        pass
    assert caught.value.code is ErrorCode.RATE_LIMITED
    assert 3590 < caught.value.retry_after <= 3600


def test_one_request_finds_out_whether_a_host_is_back(monkeypatch):
    monkeypatch.setattr(room, "_FIRST_PAUSE", 0.05)
    throttle = Throttle(FetchSettings())
    for _ in range(3):
        ask(throttle, "a", silence())
    time.sleep(0.06)
    with throttle.slot("a"):
        assert not ask(throttle, "a")
    assert ask(throttle, "a")


def test_pauses_grow_up_to_a_limit():
    now, host = 0.0, room._Host()
    pauses = []
    for _ in range(12):
        host.note(silence(), now)
        host.note(silence(), now)  # another that was under way
        pauses.append(host.away_for(now))
        now = max(now + 1, host.away_until)
    assert pauses[:5] == [0, 10, 20, 40, 80]
    assert pauses[-1] == 300
