"""Threads that work ahead: order, bounds, errors."""

from __future__ import annotations

import threading
import time

import pytest

from i2s_batch.concurrency import map_ahead


def test_results_come_in_order_and_only_some_wait() -> None:
    begun: list[int] = []
    ahead = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.001 * (number % 3))
        return number * number

    for taken, result in enumerate(map_ahead(work, range(200), 4), 1):
        assert result == (taken - 1) ** 2
        ahead.append(len(begun) - taken)
    assert len(ahead) == 200 and 0 < max(ahead) < 8


def test_an_error_comes_in_its_turn_and_ends_the_work() -> None:
    lock, begun = threading.Lock(), []

    def work(number: int) -> int:
        with lock:
            begun.append(number)
        return 1 // (number - 5)

    results = []
    with pytest.raises(ZeroDivisionError):
        results += list(map_ahead(work, range(1000), 2))
    assert max(begun) < 12
    assert list(map_ahead(work, [], 2)) == []
