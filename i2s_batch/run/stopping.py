"""Stops a run on SIGINT and SIGTERM: what is in flight is saved first, within a time limit.

A driver whose workers are other processes checks for signals every half second. Where the worker runs in
this very thread, a step may take a minute, during which no Python code runs here: then a second thread saves and ends
the process, which loses no more than the step.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from i2s_batch.errors import I2SError

# Ray sends SIGKILL three seconds after the SIGTERM of `ray job stop`.
SAVE_TIMEOUT_S = {signal.SIGINT: 60.0, signal.SIGTERM: 2.5}
# Time for the computation in this thread to finish its step before the other thread acts.
GRACE_S = 1.25

Stop = Callable[[int, float], int]
Leave = Callable[["RunInterruptedError"], NoReturn]


class RunInterruptedError(Exception):
    """Reports that the run was stopped by a signal; running the same command again resumes it."""

    def __init__(self, number: int, saved: int) -> None:
        super().__init__(f"stopped; {saved} images in flight were saved, run the same command again to resume")
        self.signal, self.saved = number, saved


class Stopping:
    """Collects the signals of a run. `stop(signal, timeout_s)` saves what is in flight and returns how many images."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._received: list[int] = []
        self._begun = threading.Lock()  # held for ever by the thread that stops the run, so that the other one does not
        self._over = threading.Event()

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Record a signal, as Python calls handlers: between two steps of the main thread."""
        self._received.append(number)

    def check(self) -> None:
        """Stop the run if a signal has come: save, then raise RunInterruptedError."""
        if not self._received:
            return
        self.end()
        if not self._begun.acquire(blocking=False):
            threading.Event().wait()  # the other thread is saving, and ends the process
        number = self._received[0]
        raise RunInterruptedError(number, self._stop(number, SAVE_TIMEOUT_S[signal.Signals(number)]))

    def end(self) -> None:
        """Release the other thread: the main thread handles signals itself, or there is nothing left to stop."""
        self._over.set()

    def watch(self, signals: int, leave: Leave) -> None:
        """Wait for a signal's number in the pipe `signals`; if the main thread does not handle it, save and leave.

        Returns when the pipe is closed, or when the main thread has handled the signal.
        """
        number = 0
        while number not in SAVE_TIMEOUT_S:  # every signal that Python handles is written there
            written = os.read(signals, 1)
            if not written:
                return
            number = written[0]
        if self._over.wait(GRACE_S) or not self._begun.acquire(blocking=False):
            return
        timeout_s = SAVE_TIMEOUT_S[signal.Signals(number)] - GRACE_S
        saved: list[int] = []

        def save() -> None:
            with suppress(I2SError):  # the last checkpoints stand
                saved.append(self._stop(number, timeout_s))

        saving = threading.Thread(target=save, daemon=True)
        saving.start()
        saving.join(timeout_s)
        leave(RunInterruptedError(number, sum(saved)))


@contextmanager
def stopped_by_signals(stop: Stop, leave: Leave | None = None) -> Iterator[Callable[[], None]]:
    """Yield a function that raises RunInterruptedError once SIGINT or SIGTERM has come and what is in flight is saved.

    It is to be called often. Outside the main thread, where Python allows no signal handlers, signals are not handled.

    Args:
        stop: Called with the signal and a time limit in seconds; saves, and returns how many images were saved.
        leave: Ends the process; given where the run computes in the main thread, to be called from another one when a
            signal comes in the middle of a long step.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    stopping = Stopping(stop)
    before = {number: signal.signal(number, stopping.receive) for number in SAVE_TIMEOUT_S}
    try:
        if leave is None:
            yield stopping.check
        else:
            with _watched(stopping, leave):
                yield stopping.check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _watched(stopping: Stopping, leave: Leave) -> Iterator[None]:
    """Have a second thread wait for signals: Python writes their numbers into a pipe whatever the main thread does."""
    read, write = os.pipe()
    if hasattr(os, "set_blocking"):  # Windows has it from Python 3.12 on
        os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    thread = threading.Thread(target=stopping.watch, args=(read, leave), name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.end()
        signal.set_wakeup_fd(before)
        os.close(write)
        thread.join()
        os.close(read)
