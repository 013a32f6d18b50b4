"""Drives a run: hands units of the plan to workers, replaces dead workers, and gives up units that kill them.

It knows no cluster, only a `Pool`, and not what is done with a unit. Every decision of a run is made here.
"""

from __future__ import annotations

import itertools
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from i2s_batch.errors import I2SError, InternalError, RunFailedError, StorageError, described
from i2s_batch.output.run_state import DEATHS_TO_CRASH, RunState, save_deaths
from i2s_batch.output.units import Task, Unit
from i2s_batch.output.work_log import WorkLog
from i2s_batch.plurals import counted
from i2s_batch.run.assembly import Publisher
from i2s_batch.run.begun import BegunUnits
from i2s_batch.run.messages import Report
from i2s_batch.run.pools import Died, Event, Failed, Pool, Ready, Reported
from i2s_batch.run.progress import Progress
from i2s_batch.schema.row import Row
from i2s_batch.storage import Store
from i2s_batch.storage.store_settings import NO_CREDENTIALS

# A stretch of work between two reports. Short, so that progress is current and a stop is noticed soon.
STRETCH_S = 1.0
# A device that fails this often without an image finished between is done without, if there are others.
DEVICE_FAILURES = 3
# Workers that may die one after the other, without any image finished, before the run gives up: before any worker was
# ready (they cannot start), and later.
DEATHS_AT_START = 3
DEATHS_IN_A_ROW = 10
_SEARCHED_AT_ONCE = 1 << 16  # units
_NAMED = 10  # images of a failed worker that the message names


class CrashedError(Exception):
    """Reports why a unit was given up: the error of its rows."""


@dataclass
class _Member:
    """Holds what the driver knows about a worker.

    `failures` counts those of its device, for this worker and those that it replaced, since an image was finished.
    """

    failures: int = 0
    slots: int = 0
    busy: bool = False
    held: dict[int, Task[Unit]] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return self.slots > 0

    @property
    def images(self) -> int:
        return sum(len(task.unit.image_ids) for task in self.held.values())


class Driver:
    """Carries a planned run to its end with the workers of one pool."""

    def __init__(
        self,
        state: RunState,
        pool: Pool,
        unit_of: Callable[[int], Unit],
        crashed_rows: Callable[[Task[Unit], Exception], list[Row]],
        store: Store,
        log: WorkLog,
        publisher: Publisher,
        progress: Progress,
        begun: BegunUnits | None = None,
    ) -> None:
        """Connect the parts of a run.

        Args:
            state: What is done, updated by this driver.
            pool: The workers.
            unit_of: Returns the unit of the plan with this index.
            crashed_rows: Returns the rows of a unit that was given up.
            store: The output.
            log: The work log.
            publisher: Publishes shards that have all their rows.
            progress: Reports to the user.
            begun: Records what is begun, where the workers' death is the driver's; None where it is not.
        """
        self._state, self._pool, self._unit_of, self._crashed_rows = state, pool, unit_of, crashed_rows
        self._store, self._log, self._publisher, self._progress = store, log, publisher, progress
        self._begun = begun
        self._members: dict[str, _Member] = {}
        self._new_tasks = self._generate_tasks()
        self._retries: deque[Task[Unit]] = deque()
        self._blocked: dict[int, list[Task[Unit]]] = {}  # by the unit that has to be done before them
        self._suspects: deque[Task[Unit]] = deque()
        self._deaths_in_a_row = 0
        self._starts_failed: Counter[str] = Counter()  # by node, since a worker was ready
        self._ever_ready = False

    def run(self, workers: int, check_stop: Callable[[], None]) -> None:
        """Work until every unit has its rows.

        `check_stop` is called often; it raises to stop the run (a lost lease, a signal).
        """
        for _ in range(workers):
            self._start()
        while self._state.remaining:
            check_stop()
            self._hand_out()
            for event in self._pool.wait(STRETCH_S / 2):
                self._handle(event)
            self._publisher.check()
            self._progress.tick(self._pool.waiting_for())

    def settle(self) -> None:
        """Record that the driver ends as it should: what it holds is to blame for nothing."""
        if self._begun is not None:
            self._begun.settle()

    def save(self, timeout_s: float) -> int:
        """Let every worker save what is in flight; return how many images were saved in time."""
        ready = [name for name, member in list(self._members.items()) if member.ready]
        with suppress(StorageError):  # the images are saved all the same
            self.settle()  # first: there may be no time left afterwards
        return self._pool.checkpoint(ready, timeout_s)

    def _start(self, failures: int = 0) -> None:
        name = self._pool.start()
        self._members[name] = _Member(failures)
        self._progress.started(name)

    # Handing out

    def _generate_tasks(self) -> Iterator[Task[Unit]]:
        """Yield undone units: those in flight when an earlier driver ended, then the others, in the plan's order."""
        state = self._state
        order = itertools.chain(sorted(state.checkpointed), (i for i in self._undone() if i not in state.checkpointed))
        for index in order:
            deaths = state.deaths.get(index, 0)
            unit = self._unit_of(index)
            if deaths >= DEATHS_TO_CRASH:  # the driver died with the last of them
                self._write_crashed(Task(unit, deaths))
                continue
            # The unit before it may have left a checkpoint to resume from.
            task = Task(unit, deaths + 1, resume=index in state.checkpointed or unit.after is not None)
            if deaths >= DEATHS_TO_CRASH - 1:
                self._suspects.append(task)
            else:
                yield task

    def _undone(self) -> Iterator[int]:
        """Yield undone units, searched as they are asked for: a list of ten million numbers would take 360 MB."""
        done = self._state.done
        for start in range(0, len(done), _SEARCHED_AT_ONCE):
            yield from (start + np.flatnonzero(~done[start : start + _SEARCHED_AT_ONCE])).tolist()

    def _hand_out(self) -> None:
        for name, member in self._members.items():
            if not member.ready or member.busy:
                continue
            tasks = self._tasks_for(member)
            if tasks or member.held:
                member.held |= {task.index: task for task in tasks}
                member.busy = True
                if self._begun is not None:
                    self._begun.begin(task.index for task in tasks)
                self._pool.send(name, tasks, STRETCH_S)

    def _tasks_for(self, member: _Member) -> list[Task[Unit]]:
        """Fill the member's slots, and its queue with tasks for which no other worker has a free slot.

        A unit with which two workers died is tried alone, so that it cannot harm others.
        """
        if any(task.attempts >= DEATHS_TO_CRASH for task in member.held.values()):
            return []
        held = sum(len(other.held) for other in self._members.values())
        waiting = self._state.remaining - held - len(self._suspects)
        elsewhere = sum(max(0, m.slots - len(m.held)) for m in self._members.values() if m is not member)
        starting = sum(member.slots for m in self._members.values() if not m.ready)
        room = member.slots - len(member.held)
        prefetch = min(member.slots, waiting - room - elsewhere - starting)
        wanted = range(max(0, room + max(0, prefetch)))
        tasks = [task for _ in wanted if (task := self._next_task()) is not None]
        if not tasks and not member.held and (suspect := next(filter(self._may_begin, self._suspects), None)):
            self._suspects.remove(suspect)
            tasks = [suspect]
        return tasks

    def _next_task(self) -> Task[Unit] | None:
        while (task := self._retries.popleft() if self._retries else next(self._new_tasks, None)) is not None:
            if self._may_begin(task):
                return task
            assert task.unit.after is not None
            self._blocked.setdefault(task.unit.after, []).append(task)
        return None

    def _may_begin(self, task: Task[Unit]) -> bool:
        after = task.unit.after
        return after is None or bool(self._state.done[after])

    # Handling events

    def _handle(self, event: Event) -> None:
        member = self._members[event.worker]
        if isinstance(event, Ready):
            member.slots = event.slots
            self._ever_ready = True
            self._starts_failed.clear()  # those of days ago say nothing about a node
            self._progress.ready(event.worker)
        elif isinstance(event, Reported):
            member.busy = False
            self._take_report(event.worker, member, event.report)
            if event.worker in self._pool.draining():
                self._retire(event.worker)
        elif isinstance(event, Died):
            self._handle_death(event)
        elif isinstance(event, Failed) and not self._continues_without(event):
            self._raise_failure(event, member)

    def _take_report(self, name: str, member: _Member, report: Report) -> None:
        self._progress.reported(name, report.steps, report.in_flight)
        for warning in report.warnings:
            self._progress.log(f"{name}: {warning}")
        for finished in report.finished:
            member.held.pop(finished.index, None)
            self._deaths_in_a_row = member.failures = 0
            self._finish(finished.index, finished.statuses)
        if self._begun is not None:
            done = [finished.index for finished in report.finished]
            self._begun.settle([*done, *(() if report.waiting else member.held)])

    def _finish(self, index: int, statuses: tuple[str, ...]) -> None:
        """Record that a unit's rows are durable. They may come twice: rows whose report was lost are computed again."""
        if self._state.done[index]:
            return
        self._state.done[index] = True
        self._retries.extend(self._blocked.pop(index, ()))
        self._state.statuses.update(statuses)
        self._publisher.logged(index)

    def _retire(self, name: str) -> None:
        """Save what a worker holds whose machine is about to shut down, and let others resume it."""
        self._pool.checkpoint([name], timeout_s=STRETCH_S * 30)
        self._pool.end(name)
        self._return_tasks(self._members.pop(name), count_death=False)
        self._progress.lost(name)
        self._start()

    def _continues_without(self, event: Died | Failed) -> bool:
        """Replace a worker that could not start on its node, or do without it; return False if neither is possible.

        A node is set aside at an error that another try would meet again, or when several workers have died on it
        before they were ready. One that died where no other node could have it is left to `_handle_death`, at first.
        """
        others = [member for name, member in self._members.items() if name != event.worker]
        if self._members[event.worker].ready:
            return False
        died = isinstance(event, Died)
        self._starts_failed[event.node] += 1
        again = died and self._starts_failed[event.node] < DEATHS_AT_START
        elsewhere = bool(event.node) and (again or self._pool.set_aside(event.node))
        if not elsewhere and (again or not any(each.ready for each in others)):
            return False
        del self._members[event.worker]
        self._progress.lost(event.worker)
        if not died:
            self._pool.end(event.worker)
        then = f"the run goes on with {len(others)} workers"
        if elsewhere:
            then = "another is started" if again else "its node is set aside, and the run goes on with the others"
            self._start()
        reason = event.reason if isinstance(event, Died) else _worded(event.error)
        self._progress.log(f"{event.worker}{event.where} could not start ({reason}); {then}")
        return True

    def _handle_death(self, event: Died) -> None:
        if not (event.preempted or event.memory) and self._continues_without(event):
            return
        member = self._members.pop(event.worker)
        self._progress.lost(event.worker)
        if not event.preempted:
            self._deaths_in_a_row += 1
        limit = DEATHS_IN_A_ROW if self._ever_ready else DEATHS_AT_START
        if self._deaths_in_a_row >= limit:
            raise RunFailedError(
                f"{self._deaths_in_a_row} workers died one after the other and no image was finished; the last one "
                f"({event.worker}{event.where}): {event.reason}"
            )
        what = "went with its machine" if event.preempted else "died"
        resumes = counted(member.images, "image resumes", "images resume")
        self._progress.log(f"{event.worker}{event.where} {what} ({event.reason}); its {resumes} elsewhere")
        self._return_tasks(member, count_death=not (event.preempted or event.memory))
        failures = member.failures + 1 if event.device else 0
        if failures >= DEVICE_FAILURES and any(each.ready for each in self._members.values()):
            left = counted(len(self._members), "worker")
            self._progress.log(f"its device failed {failures} times; the run goes on with {left}")
        else:
            self._start(failures)

    def _return_tasks(self, member: _Member, count_death: bool) -> None:
        deaths = self._state.deaths
        if self._begun is not None:
            self._begun.settle(member.held)  # whose deaths are counted here
        if count_death and member.held:
            for index in member.held:
                deaths[index] = deaths.get(index, 0) + 1
            save_deaths(self._store, deaths)
        for index, task in member.held.items():
            statuses = self._log.statuses_of(index)
            if statuses is not None:  # its rows became durable, and only the report was lost
                self._finish(index, statuses)
                continue
            count = deaths.get(index, 0)
            if count >= DEATHS_TO_CRASH:
                self._write_crashed(task)
                continue
            retry = replace(task, attempts=count + 1, resume=True)
            (self._suspects if count == DEATHS_TO_CRASH - 1 else self._retries).append(retry)

    def _write_crashed(self, task: Task[Unit]) -> None:
        error = CrashedError(f"{DEATHS_TO_CRASH} workers died while they worked on this image")
        self._finish(task.index, self._log.write_rows(task, self._crashed_rows(task, error)).statuses)
        self._deaths_in_a_row = 0

    def _raise_failure(self, event: Failed, member: _Member) -> None:
        error = event.error
        if isinstance(error, InternalError):
            what, details = str(error), error.details
        elif isinstance(error, I2SError):
            if event.where:
                error.args = (f"{event.worker}{event.where}: {_worded(error)}", *error.args[1:])
            raise error
        else:  # raised outside of the worker's own handler
            what, details = described(error), "".join(traceback.format_exception(error))
        names = [repr(task.image_id) for task in itertools.islice(member.held.values(), _NAMED)]
        more = f" and {len(member.held) - len(names)} more" if len(member.held) > len(names) else ""
        images = (", ".join(names) or "none") + more
        raise InternalError(
            f"worker {event.worker}{event.where} failed with {what} (images that it held: {images})", details
        ) from error


def _worded(error: BaseException) -> str:
    """Return the error of a worker in words; those for users need no type, but say whose credentials are meant."""
    if not isinstance(error, I2SError) or isinstance(error, InternalError):
        return described(error)
    return f"{error}; it is the worker that lacks them" if NO_CREDENTIALS in str(error) else str(error)
