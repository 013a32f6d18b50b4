"""Runs work in threads a little ahead of the consumer of its results, and sets how the threads of operators wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Full, Queue
from threading import Event
from typing import TypeVar

_CORES_PER_SHARE, _MOST_SHARES = 4, 4
_POLL_S = 0.2  # between two looks whether the consumer has ended

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


def interleaved(streams: Iterable[Callable[[], Iterator[Item]]], threads: int) -> Iterator[Item]:
    """Yield what some streams yield, in no order between them; `threads` of them are read at once.

    At most four times as many items wait to be consumed. An error of a stream is raised here, and ends the others.
    """
    waiting: Queue[Item | Future[None]] = Queue(4 * threads)
    ended = Event()

    def put(item: Item | Future[None]) -> None:
        while not ended.is_set():
            with suppress(Full):
                waiting.put(item, timeout=_POLL_S)
                return

    def read(stream: Callable[[], Iterator[Item]]) -> None:
        for item in stream():
            put(item)
            if ended.is_set():
                return

    pending, running = deque(streams), 0
    with ThreadPoolExecutor(threads) as pool:
        try:
            while pending or running:
                while pending and running < threads:
                    pool.submit(read, pending.popleft()).add_done_callback(put)
                    running += 1
                item = waiting.get()
                if isinstance(item, Future):  # a stream has ended
                    running -= 1
                    item.result()
                else:
                    yield item
        finally:
            ended.set()


def threads_for(threads: int, cores: int) -> int:
    """Return how many threads a worker with `cores` CPU cores decodes or encodes with.

    Args:
        threads: Those of a worker with few cores, for which files are waited longer than worked on.
        cores: The cores of its machine, divided by the workers there: a GPU may have sixteen.
    """
    return threads * max(1, min(_MOST_SHARES, cores // _CORES_PER_SHARE))


def passive_waiting(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that let the threads of an operator sleep while they wait for each other.

    OpenMP's threads spin by default: on a machine that does anything else, a thread that has lost its core is waited
    for by others that keep theirs busy, and a step takes many times as long. The variables are read when PyTorch is
    loaded. The result is empty where `environment` has a setting of its own.
    """
    if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & environment.keys():
        return {}
    return {"OMP_WAIT_POLICY": "PASSIVE"}
