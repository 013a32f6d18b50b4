"""The lines and figures that tell people how far a run is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from i2s_batch.records import STATUS_OK
from i2s_batch.runtime.run_state import RunState

# Seconds between two progress lines: job logs are no terminal.
LINE_EVERY_S = 30.0


class Progress:
    """Counts what happens and says so every `LINE_EVERY_S`; `say` takes one line."""

    def __init__(self, state: RunState, steps: int, say: Callable[[str], None]) -> None:
        self._state, self._steps, self._say = state, steps, say
        self._total = len(state.done)
        self._done_before = self._total - state.remaining
        self._started = self._last_line = time.monotonic()
        self._updates = 0
        # Rates are taken from the first report on: before it, workers load their networks.
        self._working_since: float | None = None
        self._updates_before_work = 0
        self._in_flight: dict[str, dict[str, int]] = {}

    def reported(self, worker: str, updates: int, in_flight: dict[str, int]) -> None:
        """Take note of a worker's report."""
        self._updates += updates
        if self._working_since is None:
            self._working_since, self._updates_before_work = time.monotonic(), self._updates
        self._in_flight[worker] = in_flight

    def lost(self, worker: str) -> None:
        """A worker is gone."""
        self._in_flight.pop(worker, None)

    def note(self, line: str) -> None:
        """Say something out of turn."""
        self._say(line)

    def tick(self) -> None:
        """Say a line if it is time."""
        if time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            self._say(self.line())

    def line(self) -> str:
        """Images done, failed and in flight, the rate, and the time left (counting the images in flight)."""
        flying = [step for steps in self._in_flight.values() for step in steps.values()]
        failed = sum(n for status, n in self._state.statuses.items() if status != STATUS_OK)
        done = self._total - self._state.remaining
        text = f"{done}/{self._total} images done ({failed} failed), {len(flying)} in flight"
        made = self._updates - self._updates_before_work
        if self._working_since is not None and made:
            rate = made / (time.monotonic() - self._working_since)
            left = (self._total - done) * self._steps - sum(flying)
            text += f", {rate:.1f} steps/s, {3600 * rate / self._steps:.0f} images/h, {_duration(left / rate)} left"
        return text

    def summary(self, finished: bool) -> dict[str, Any]:
        """What summary.json holds."""
        elapsed = time.monotonic() - self._started
        done = self._total - self._state.remaining
        return {
            "finished": finished,
            "images": self._total,
            "done": done,
            "statuses": dict(sorted(self._state.statuses.items())),
            "this_session": {
                "images": done - self._done_before,
                "steps": self._updates,
                "seconds": round(elapsed, 3),
            },
        }


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
