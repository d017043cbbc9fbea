"""Hosts are treated with courtesy."""

import threading
import time

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
