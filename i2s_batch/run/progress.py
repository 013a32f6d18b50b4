"""The lines and figures that tell people how far a run is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from i2s_batch.output.run_state import RunState
from i2s_batch.output.run_summary import Flight, RunSummary, Session
from i2s_batch.run.terminal import LiveReporter, duration
from i2s_batch.schema.columns import STATUS_OK

# Seconds between two progress lines in a job log, and between two drawings of a terminal's live line.
LINE_EVERY_S = 30.0
DRAW_EVERY_S = 0.25
# The rate is that of the last minutes: long enough to be steady, short enough to forget a stall.
RATE_WINDOW_S = 180.0
# All reports of so long are one sample of the rate: a thousand workers report each second.
RATE_SAMPLE_S = 1.0
# After so long without a step the line says so.
QUIET_S = 60.0
# Images in flight that summary.json names: those that have been in flight longest.
IN_FLIGHT_NAMED = 20


class Rate:
    """Updates a second over the last `RATE_WINDOW_S`, or since the first report if that is less.

    The first report only sets the clock: how long its steps took, beside loading and compiling, is not known.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()  # (when, updates made until then)
        self._measured = False

    def add(self, now: float, updates: int) -> None:
        """`updates` more were made until `now`."""
        when, total = self._samples[-1] if self._samples else (-RATE_SAMPLE_S, 0)
        if when // RATE_SAMPLE_S == now // RATE_SAMPLE_S:
            self._samples.pop()
        self._samples.append((now, total + updates))
        self._measured |= len(self._samples) > 1

    def at(self, now: float) -> float | None:
        """The rate, None before there is one. It falls during a stall, and a stall is forgotten after the window."""
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
    """An image in a slot: the updates made on it, and when this worker first reported it."""

    steps: int
    since: float


class Progress:
    """Counts what happens and says so through `say`: every `LINE_EVERY_S` as a line, or on a terminal
    (`say` is a `LiveReporter`) in one line that is redrawn. `retried`: failed images that are tried again."""

    def __init__(self, state: RunState, steps: int, say: Callable[[str], None], retried: int = 0) -> None:
        self._state, self._steps, self._say, self._retried = state, steps, say, retried
        self._total = state.images
        self._done_before = self._total - state.remaining_images
        self._started = self._last_said = self._last_step = time.monotonic()
        self._phase = self._waiting_for = ""
        self._updates = 0
        self._rate = Rate()
        self._ready: dict[str, bool] = {}
        self._in_flight: dict[str, dict[str, _Flight]] = {}

    # What happens

    def phase(self, what: str) -> None:
        """The run is at something that is no step of any image; '' when that is over."""
        self._phase = what
        self._draw()

    def started(self, worker: str) -> None:
        """A worker has been asked for; it loads its networks."""
        self._ready[worker] = False

    def ready(self, worker: str) -> None:
        """A worker can work."""
        self._ready[worker] = True

    def reported(self, worker: str, updates: int, in_flight: dict[str, int]) -> None:
        """Take note of a worker's report."""
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
        """A worker is gone."""
        self._in_flight.pop(worker, None)
        self._ready.pop(worker, None)

    # What is said

    def note(self, line: str) -> None:
        """Say something out of turn."""
        self._say(line)

    def tick(self, waiting_for: str = "") -> None:
        """Say or draw a line if it is time. `waiting_for`: what workers wait for before they load their networks."""
        self._waiting_for = waiting_for
        every = DRAW_EVERY_S if isinstance(self._say, LiveReporter) else LINE_EVERY_S
        if time.monotonic() - self._last_said >= every:
            self._last_said = time.monotonic()
            if isinstance(self._say, LiveReporter):
                self._draw()
            else:
                self._say(self.line())

    def end(self) -> None:
        """The run is over: the live line comes to rest."""
        if isinstance(self._say, LiveReporter):
            self._say.show(f"{self._counts()}, {duration(time.monotonic() - self._started)}", 1.0)
            self._say.end()

    def line(self) -> str:
        """Images done, failed and in flight, the time left (counting the images in flight), and the rate: what
        matters least stands last, where a narrow terminal cuts. Without a rate, what is being waited for."""
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
            updated_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
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
        if isinstance(self._say, LiveReporter):
            self._say.show(self.line(), self._fraction())

    def _counts(self) -> str:
        failed = sum(n for status, n in self._state.statuses.items() if status != STATUS_OK)
        return f"{self._total - self._state.remaining_images}/{self._total} images done ({failed} failed)"

    def _waiting(self, now: float) -> str:
        """Why no rate can be told: '' if one can."""
        if self._phase:
            return self._phase
        ready, workers = sum(self._ready.values()), len(self._ready)
        if not ready and workers:
            return f"{self._waiting_for or 'loading the networks'} ({duration(now - self._last_step)})"
        if now - self._last_step >= QUIET_S:
            return f"no step for {duration(now - self._last_step)}"
        if self._rate.at(now) is None:
            return f"first steps ({ready} of {workers} workers ready)"
        return ""

    def _left(self, rate: float) -> float:
        """Seconds until all images are done, at `rate` updates a second."""
        return self._updates_left() / rate

    def _updates_left(self) -> int:
        """Return the updates that are still to be made, those of images in flight included."""
        made = sum(flight.steps for images in self._in_flight.values() for flight in images.values())
        return max(0, self._state.remaining_images * self._steps - made)

    def _fraction(self) -> float:
        """Return the fraction of all updates that is made, where an image that is done counts as all of its own."""
        return 1 - self._updates_left() / max(1, self._total * self._steps)
