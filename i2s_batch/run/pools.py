"""Where workers live: the interface that the driver sees, and the pool without a cluster.

A pool starts workers, sends them tasks, and tells what came of it. It decides nothing.
"""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from i2s_batch.config import RunConfig
from i2s_batch.errors import ClusterError, I2SError, InternalError, RunFailedError, described
from i2s_batch.output.units import Task, Unit
from i2s_batch.run.messages import Report
from i2s_batch.run.stopping import Leave

AnyUnit_contra = TypeVar("AnyUnit_contra", bound=Unit, contravariant=True)


@dataclass(frozen=True)
class Fleet:
    """How many workers there are to be, on what, and with how many CPU threads each (None: PyTorch's choice)."""

    workers: int
    device: str
    threads: int | None = None


class Worker(Protocol[AnyUnit_contra]):
    """What works: loaded networks and some slots, each for a unit of the plan."""

    slots: int

    def advance(self, tasks: Sequence[Task[AnyUnit_contra]], budget_s: float) -> Report:
        """Take `tasks`, then work for about `budget_s` seconds or until rows are durable, whichever is first."""

    def interrupt(self) -> None:
        """Make a running `advance` return soon. May be called from another thread."""

    def checkpoint(self) -> int:
        """Save what is in flight now and wait until that, and every finished row, is durable; how many images in
        flight were saved."""

    def close(self) -> None:
        """End the threads; files that are being written are completed."""


class DeviceLostError(Exception):
    """The device of a worker, or the process's hold on it, is broken: nothing that this process computes from now on
    can be trusted. A pool ends the worker and tells that it died."""


@contextmanager
def last_net(doing: str) -> Iterator[None]:
    """Turn an exception that nobody foresaw, raised while a worker was `doing` something, into an InternalError.

    What the user can mend, and a device that is lost, pass as they are.
    """
    try:
        yield
    except (I2SError, DeviceLostError):
        raise
    except MemoryError as error:
        reason = f" ({error})" if str(error) else ""
        raise RunFailedError(
            f"a worker had too little memory while {doing}{reason}; give it more, or ask for less"
        ) from error
    except Exception as error:  # the worker's last net: a bug, whatever it is, must reach the driver
        details = "".join(traceback.format_exception(error))
        raise InternalError(f"{described(error)}, while {doing}", details) from error


class GuardedWorker:
    """A worker that is built and used under the last net."""

    def __init__(self, spec: WorkerSpec, name: str) -> None:
        self._name = name
        with last_net("loading the networks"):
            self._worker = spec.build(name)

    @property
    def slots(self) -> int:
        return self._worker.slots

    def advance(self, tasks: Sequence[Task[Unit]], budget_s: float) -> Report:
        with last_net("working on its images"):
            return self._worker.advance(tasks, budget_s)

    def interrupt(self) -> None:
        self._worker.interrupt()

    def checkpoint(self) -> int:
        with last_net(f"saving what {self._name} had in flight"):
            return self._worker.checkpoint()

    def close(self) -> None:
        self._worker.close()


class WorkerSpec(Protocol):
    """All that a worker needs, as values that travel to other processes."""

    def build(self, name: str) -> Worker[Any]:
        """Load the networks, in the process where they are to work."""


@dataclass(frozen=True)
class Ready:
    """A worker has loaded its networks and has this many slots."""

    worker: str
    slots: int


@dataclass(frozen=True)
class Reported:
    """A worker has ended a stretch of work and waits for the next."""

    worker: str
    report: Report


@dataclass(frozen=True)
class Died:
    """A worker's process or its device is gone, and with it whatever it held in memory.

    `preempted`: its machine went away; `memory`: it was ended because its machine was short of memory. In neither case
    are the images that it held to blame.
    """

    worker: str
    reason: str
    preempted: bool
    memory: bool = False


@dataclass(frozen=True)
class Failed:
    """A worker raised: a bug or a fault that a retry would meet again."""

    worker: str
    error: BaseException


Event = Ready | Reported | Died | Failed


class Pool(Protocol):
    """What the driver asks of a place where workers live."""

    def start(self) -> str:
        """Start one more worker and return its name; `Ready` follows."""

    def send(self, worker: str, tasks: list[Task[Unit]], budget_s: float) -> None:
        """Let a ready worker take `tasks` and work for about `budget_s`; `Reported` follows."""

    def wait(self, timeout_s: float) -> list[Event]:
        """The events since the last call; waits for one at most `timeout_s`."""

    def waiting_for(self) -> str:
        """What the workers that are not ready wait for, where that is not their networks; '' otherwise."""

    def draining(self) -> set[str]:
        """Workers whose machine is about to go away."""

    def end(self, worker: str) -> None:
        """End one worker; nothing more is heard of it."""

    def checkpoint(self, workers: list[str], timeout_s: float) -> int:
        """Interrupt the workers and let them save what is in flight; how many images were saved in time."""

    def close(self) -> None:
        """End all workers."""


class Cluster(Protocol):
    """A place where pools can be made. Nothing is connected or started before `fleet` is called."""

    @property
    def leave(self) -> Leave | None:
        """What ends the process when it is told to stop in the middle of a step that the driver's own thread computes;
        None where workers are other processes, or where the process is not the run's alone."""

    def fleet(self, config: RunConfig, units: int, worker_bytes: int) -> Fleet:
        """Return what the cluster offers for a run with `units` to do.

        Args:
            config: The run's settings.
            units: How many units are to be done.
            worker_bytes: The memory that a worker on a CPU needs, about.
        """

    def pool(self, spec: WorkerSpec, fleet: Fleet) -> Pool:
        """A pool without workers yet."""

    def close(self) -> None:
        """Let the cluster go."""


class InProcessCluster:
    """`workers` workers in this process, without Ray."""

    def __init__(self, workers: int = 1, leave: Leave | None = None) -> None:
        self._workers, self._leave = workers, leave

    @property
    def leave(self) -> Leave | None:
        return self._leave

    def fleet(self, config: RunConfig, units: int, worker_bytes: int) -> Fleet:
        """Offer the GPU if PyTorch sees one, else the CPU with all its threads."""
        has_gpu = torch.cuda.is_available()
        if config.device == "cuda" and not has_gpu:
            raise ClusterError("this machine has no GPU that PyTorch can see; use --device cpu")
        device = ("cuda" if has_gpu else "cpu") if config.device == "auto" else config.device
        return Fleet(min(self._workers, units), device)

    def pool(self, spec: WorkerSpec, fleet: Fleet) -> Pool:
        return InProcessPool(spec)

    def close(self) -> None:
        """There is nothing to let go."""


class InProcessPool:
    """Workers in this process, working in turn inside `wait`: for `--in-process` and tests.

    `checkpoint` may be called from another thread while a worker computes.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._names = (f"local-{number}" for number in itertools.count())
        self._workers: dict[str, GuardedWorker] = {}
        self._events: list[Event] = []
        self._sent: list[tuple[str, list[Task[Unit]], float]] = []

    def start(self) -> str:
        name = next(self._names)
        try:
            worker = GuardedWorker(self._spec, name)
        except DeviceLostError as error:
            self._events.append(Died(name, str(error), preempted=False))
            return name
        except InternalError as error:
            self._events.append(Failed(name, error))
            return name
        self._workers[name] = worker
        self._events.append(Ready(name, worker.slots))
        return name

    def send(self, worker: str, tasks: list[Task[Unit]], budget_s: float) -> None:
        self._sent.append((worker, tasks, budget_s))

    def wait(self, timeout_s: float) -> list[Event]:
        events, self._events = self._events, []
        sent, self._sent = self._sent, []
        return events + [self._advance(*each) for each in sent]

    def waiting_for(self) -> str:
        return ""

    def draining(self) -> set[str]:
        return set()

    def end(self, worker: str) -> None:
        self._workers.pop(worker).close()

    def checkpoint(self, workers: list[str], timeout_s: float) -> int:
        saved = 0
        for name in workers:
            self._workers[name].interrupt()
            with suppress(DeviceLostError):  # its last checkpoint stands
                saved += self._workers[name].checkpoint()
        return saved

    def close(self) -> None:
        for worker in self._workers.values():
            worker.close()

    def _advance(self, worker: str, tasks: Sequence[Task[Unit]], budget_s: float) -> Event:
        try:
            return Reported(worker, self._workers[worker].advance(tasks, budget_s))
        except DeviceLostError as error:
            self.end(worker)
            return Died(worker, str(error), preempted=False)
        except InternalError as error:
            return Failed(worker, error)
