"""Runs work in threads a little ahead of the consumer of its results, and sets how the threads of operators wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yield `function` of each item, in order, computed by `threads` threads.

    Unlike an executor's `map` it holds at most twice as many results that were not consumed yet, however many items
    there are.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def passive_waiting(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that let the threads of an operator sleep while they wait for each other.

    OpenMP's threads spin by default: on a machine that does anything else, a thread that has lost its core is waited
    for by others that keep theirs busy, and a step takes many times as long. The variables are read when PyTorch is
    loaded. The result is empty where `environment` has a setting of its own.
    """
    if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & environment.keys():
        return {}
    return {"OMP_WAIT_POLICY": "PASSIVE"}
