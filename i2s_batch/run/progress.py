"""Formats the lines and figures that show people how far a run is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from i2s_batch.output.run_state import RunState
from i2s_batch.output.run_summary import Flight, RunSummary, Session
from i2s_batch.plurals import counted
from i2s_batch.run.terminal import LiveReporter, duration
from i2s_batch.schema.columns import NOT_FAILED

# Seconds between two progress lines in a job log, and between two updates of a terminal's live line.
LINE_EVERY_S = 30.0
DRAW_EVERY_S = 0.25
# The rate is that of the last minutes: long enough to be steady, short enough to drop a stall.
RATE_WINDOW_S = 180.0
# All reports within this time are one sample of the rate: a thousand workers report each second.
RATE_SAMPLE_S = 1.0
# After this time without a step the line shows that.
QUIET_S = 60.0
# Number of images that summary.json names: those that have been in flight longest.
IN_FLIGHT_NAMED = 20


class Rate:
    """Measures updates a second over the last `RATE_WINDOW_S`, or since the first report if that is less.

    The first report only sets the clock: how long its steps took, apart from loading and compiling, is not known.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()  # (when, updates made until then)
        self._measured = False

    def add(self, now: float, updates: int) -> None:
        """Record that `updates` more were made until `now`."""
        when, total = self._samples[-1] if self._samples else (-RATE_SAMPLE_S, 0)
        if when // RATE_SAMPLE_S == now // RATE_SAMPLE_S:
            self._samples.pop()
        self._samples.append((now, total + updates))
        self._measured |= len(self._samples) > 1

    def at(self, now: float) -> float | None:
        """Return the rate; None before there is one. It falls during a stall, which is dropped after the window."""
        since = now - RATE_WINDOW_S
        while len(self._samples) > 1 and self._samples[1][0] <= since:
            self._samples.popleft()
        if not self._measured:
            return None
        when, before = self._samples[0]
        # Nothing was reported between the first sample and the window's start, so the total there was the same.
        return (self._samples[-1][1] - before) / max(now - max(when, since), RATE_SAMPLE_S)


@dataclass
class _Flight:
    """Holds an image in a slot: the updates made on it, and when this worker first reported it."""

    steps: int
    since: float


class Progress:
    """Counts what happens and shows it through `report`: a line every `LINE_EVERY_S`, or one live line on a terminal.

    Args:
        state: What is done.
        steps: Updates of an image.
        report: Shows a line; a `LiveReporter` is redrawn in place.
        retried: Failed images that are tried again.
    """

    def __init__(self, state: RunState, steps: int, report: Callable[[str], None], retried: int = 0) -> None:
        self._state, self._steps, self._report, self._retried = state, steps, report, retried
        self._total = state.images
        self._done_before = self._total - state.remaining_images
        self._started = self._last_line = self._last_step = time.monotonic()
        self._phase = self._waiting_for = ""
        self._updates = 0
        self._rate = Rate()
        self._ready: dict[str, bool] = {}
        self._in_flight: dict[str, dict[str, _Flight]] = {}

    # What happens

    def phase(self, what: str) -> None:
        """Begin something that is no step of any image; '' ends it."""
        self._phase = what
        self._draw()

    def started(self, worker: str) -> None:
        """Record that a worker was requested; it loads its networks."""
        self._ready[worker] = False

    def ready(self, worker: str) -> None:
        """Record that a worker can work."""
        self._ready[worker] = True

    def reported(self, worker: str, updates: int, in_flight: dict[str, int]) -> None:
        """Record a worker's report."""
        now = time.monotonic()
        if updates:
            self._last_step = now
            self._updates += updates
            self._rate.add(now, updates)
        before = self._in_flight.get(worker, {})
        self._in_flight[worker] = {
            image_id: _Flight(steps, before[image_id].since if image_id in before else now)
            for image_id, steps in in_flight.items()
        }

    def lost(self, worker: str) -> None:
        """Record that a worker is gone."""
        self._in_flight.pop(worker, None)
        self._ready.pop(worker, None)

    # What is shown

    def log(self, line: str) -> None:
        """Show a message at once."""
        self._report(line)

    def tick(self, waiting_for: str = "") -> None:
        """Show a line if it is time. `waiting_for`: what workers wait for before they load their networks."""
        self._waiting_for = waiting_for
        every = DRAW_EVERY_S if isinstance(self._report, LiveReporter) else LINE_EVERY_S
        if time.monotonic() - self._last_line >= every:
            self._last_line = time.monotonic()
            if isinstance(self._report, LiveReporter):
                self._draw()
            else:
                self._report(self.line())

    def end(self) -> None:
        """Show the final counts on the live line: the run is over."""
        if isinstance(self._report, LiveReporter):
            self._report.show(f"{self._counts()}, {duration(time.monotonic() - self._started)}", 1.0)
            self._report.end()

    def line(self) -> str:
        """Return images done, failed and in flight, the time left (counting the images in flight), and the rate.

        What matters least stands last, where a narrow terminal cuts. Without a rate, what is being waited for takes its
        place.
        """
        now = time.monotonic()
        parts = [self._counts(), f"{sum(map(len, self._in_flight.values()))} in flight"]
        rate, waiting = self._rate.at(now), self._waiting(now)
        if waiting:
            parts.append(waiting)
        elif rate:
            parts.append(f"{duration(self._left(rate))} left")
            if self._steps > 1:
                parts.append(f"{rate:.1f} steps/s")
            parts.append(f"{3600 * rate / self._steps:.0f} images/h")
        return ", ".join(parts)

    def summary(self, finished: bool) -> RunSummary:
        """Return what summary.json is to hold."""
        now = time.monotonic()
        done = self._total - self._state.remaining_images
        rate = self._rate.at(now)
        flights = [
            (flight.since, image_id, flight.steps, worker)
            for worker, images in self._in_flight.items()
            for image_id, flight in images.items()
        ]
        flights.sort(key=lambda flight: flight[0])
        longest = tuple(
            Flight(image_id, steps, worker, round(now - since, 1))
            for since, image_id, steps, worker in flights[:IN_FLIGHT_NAMED]
        )
        return RunSummary(
            finished=finished,
            updated_at=datetime.now(UTC).isoformat(timespec="seconds"),
            images=self._total,
            done=done,
            statuses=dict(sorted(self._state.statuses.items())),
            retried=self._retried,
            workers_ready=sum(self._ready.values()),
            in_flight=len(flights),
            longest_in_flight=longest,
            waiting_for=None if finished else self._waiting(now) or None,
            steps_per_second=None if rate is None else round(rate, 3),
            images_per_hour=None if rate is None else round(3600 * rate / self._steps, 3),
            eta_seconds=round(self._left(rate), 1) if rate else None,
            this_session=Session(done - self._done_before, self._updates, round(now - self._started, 3)),
        )

    def _draw(self) -> None:
        if isinstance(self._report, LiveReporter):
            self._report.show(self.line(), self._fraction())

    def _counts(self) -> str:
        failed = sum(n for status, n in self._state.statuses.items() if status not in NOT_FAILED)
        return f"{self._total - self._state.remaining_images}/{counted(self._total, 'image')} done ({failed} failed)"

    def _waiting(self, now: float) -> str:
        """Return why there is no rate; '' if there is one."""
        if self._phase:
            return self._phase
        ready, workers = sum(self._ready.values()), len(self._ready)
        if not ready and workers:
            return f"{self._waiting_for or 'loading the networks'} ({duration(now - self._last_step)})"
        if now - self._last_step >= QUIET_S:
            return f"no step for {duration(now - self._last_step)}"
        if self._rate.at(now) is None:
            return f"first steps ({ready} of {counted(workers, 'worker')} ready)"
        return ""

    def _left(self, rate: float) -> float:
        """Return the seconds until all images are done, at `rate` updates a second."""
        return self._updates_left() / rate

    def _updates_left(self) -> int:
        """Return the updates that are still to be made, those of images in flight included."""
        updates = sum(flight.steps for images in self._in_flight.values() for flight in images.values())
        return max(0, self._state.remaining_images * self._steps - updates)

    def _fraction(self) -> float:
        """Return the fraction of all updates that is made, where an image that is done counts as all of its own."""
        return 1 - self._updates_left() / max(1, self._total * self._steps)
