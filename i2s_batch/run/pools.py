"""Defines the interface of a pool of workers for the driver, and implements the pool without a cluster.

A pool starts workers, sends them tasks, and reports what happened. It decides nothing.
"""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch

from i2s_batch.config import RunConfig
from i2s_batch.errors import ClusterError, I2SError, InternalError, RunFailedError, described
from i2s_batch.output.units import Task, Unit
from i2s_batch.run.cores import usable_cores
from i2s_batch.run.messages import Report
from i2s_batch.run.stopping import Leave

AnyUnit_contra = TypeVar("AnyUnit_contra", bound=Unit, contravariant=True)


@dataclass(frozen=True)
class Fleet:
    """Describes the workers of a run.

    Attributes:
        workers: Their number.
        device: What each computes on, cpu or cuda.
        threads: CPU threads of each; None leaves PyTorch's choice.
        notes: Lines for the user about the cluster that offers them.
        where: Where they live, in words: "in this process" or "on Ray".
        cores: CPU cores of the machine for each of them, whatever it computes on.
    """

    workers: int
    device: str
    threads: int | None = None
    notes: tuple[str, ...] = ()
    where: str = ""
    cores: int = 1


class Worker(Protocol[AnyUnit_contra]):
    """Works on units of the plan: it has loaded networks and some slots, each for one unit."""

    slots: int

    def advance(self, tasks: Sequence[Task[AnyUnit_contra]], budget_s: float) -> Report:
        """Take `tasks`, then work for about `budget_s` seconds or until rows are durable, whichever is first."""

    def interrupt(self) -> None:
        """Make a running `advance` return soon. May be called from another thread."""

    def checkpoint(self) -> int:
        """Save what is in flight now and wait until that, and every finished row, is durable.

        Returns:
            How many images in flight were saved.
        """

    def close(self) -> None:
        """End the threads; files that are being written are completed."""


class DeviceLostError(Exception):
    """Reports that a worker's device, or its connection to the process, is broken.

    Nothing that this process computes from now on can be trusted. A pool ends the worker and reports that it died.
    """


@contextmanager
def as_internal_errors(doing: str) -> Iterator[None]:
    """Turn an unexpected exception, raised while a worker was `doing` something, into an InternalError.

    Errors that the user can mend, and the loss of a device, pass unchanged.
    """
    try:
        yield
    except (I2SError, DeviceLostError):
        raise
    except MemoryError as error:
        reason = f" ({error})" if str(error) else ""
        raise RunFailedError(
            f"a worker had too little memory while {doing}{reason}; give it more, or use a smaller --batch-size"
        ) from error
    except Exception as error:  # the worker's last handler: a bug, whatever it is, must reach the driver
        details = "".join(traceback.format_exception(error))
        raise InternalError(f"{described(error)}, while {doing}", details) from error


class GuardedWorker:
    """Builds and uses a worker with every unexpected error turned into an InternalError."""

    def __init__(self, spec: WorkerSpec, name: str) -> None:
        self._name = name
        with as_internal_errors("loading the networks"):
            self._worker = spec.build(name)

    @property
    def slots(self) -> int:
        """Return the number of units that the worker takes at a time."""
        return self._worker.slots

    def advance(self, tasks: Sequence[Task[Unit]], budget_s: float) -> Report:
        """Work as `Worker.advance`."""
        with as_internal_errors("working on its images"):
            return self._worker.advance(tasks, budget_s)

    def interrupt(self) -> None:
        """Interrupt as `Worker.interrupt`."""
        self._worker.interrupt()

    def checkpoint(self) -> int:
        """Save as `Worker.checkpoint`."""
        with as_internal_errors(f"saving what {self._name} had in flight"):
            return self._worker.checkpoint()

    def close(self) -> None:
        """End the worker's threads."""
        self._worker.close()


class WorkerSpec(Protocol):
    """Holds all that a worker needs, as values that travel to other processes."""

    def build(self, name: str) -> Worker[Any]:
        """Load the networks, in the process where the worker is to run."""


@dataclass(frozen=True)
class Ready:
    """Reports that a worker has loaded its networks and has this many slots."""

    worker: str
    slots: int


@dataclass(frozen=True)
class Reported:
    """Reports that a worker has ended a stretch of work and waits for the next."""

    worker: str
    report: Report


@dataclass(frozen=True)
class Died:
    """Reports that a worker's process or its device is gone, with everything that it held in memory.

    Neither `preempted` nor `memory` counts as the fault of the images that it held.

    Attributes:
        worker: Its name.
        reason: Why it died.
        preempted: Whether its machine went away.
        memory: Whether it was ended because its machine was short of memory.
        device: Whether its device failed.
        node: The id of its node, if it had never been ready there and another node could have it; else ''.
        where: Its node in words, to follow its name; '' on this machine.
    """

    worker: str
    reason: str
    preempted: bool
    memory: bool = False
    device: bool = field(default=False, repr=False)
    node: str = field(default="", repr=False)
    where: str = field(default="", repr=False)


@dataclass(frozen=True)
class Failed:
    """Reports that a worker raised: a bug, or a fault that a retry would meet again.

    `node` and `where` are as of `Died`.
    """

    worker: str
    error: BaseException
    node: str = field(default="", repr=False)
    where: str = field(default="", repr=False)


Event = Ready | Reported | Died | Failed


class Pool(Protocol):
    """Defines what the driver requires of a pool of workers."""

    def start(self) -> str:
        """Start one more worker and return its name; `Ready` follows."""

    def send(self, worker: str, tasks: list[Task[Unit]], budget_s: float) -> None:
        """Let a ready worker take `tasks` and work for about `budget_s`; `Reported` follows."""

    def wait(self, timeout_s: float) -> list[Event]:
        """Return the events since the last call; wait for one at most `timeout_s`."""

    def waiting_for(self) -> str:
        """Return what the workers that are not ready wait for, where that is not their networks; '' otherwise."""

    def draining(self) -> set[str]:
        """Return the workers whose machine is about to shut down."""

    def end(self, worker: str) -> None:
        """End one worker; no event of it follows."""

    def set_aside(self, node: str) -> bool:
        """Start no more workers on a node that an event has named, unless it is the last; return whether that is so."""

    def checkpoint(self, workers: list[str], timeout_s: float) -> int:
        """Interrupt the workers and let them save what is in flight; return how many images were saved in time."""

    def close(self) -> None:
        """End all workers."""


class Cluster(Protocol):
    """Makes pools. Nothing is connected or started before `fleet` is called."""

    @property
    def leave(self) -> Leave | None:
        """Return what ends the process when a signal comes in the middle of a step of the driver's own thread.

        None where workers are other processes, or where the process does not belong to the run alone.
        """

    def fleet(self, config: RunConfig, units: int, worker_bytes: int) -> Fleet:
        """Return what the cluster offers for a run with `units` to do.

        Args:
            config: The run's settings.
            units: How many units are to be done.
            worker_bytes: The memory that a worker on a CPU needs, about.
        """

    def pool(self, spec: WorkerSpec, fleet: Fleet) -> Pool:
        """Return a pool without workers yet."""

    def close(self) -> None:
        """Disconnect from the cluster."""


IN_THIS_PROCESS = "in this process"


class InProcessCluster:
    """Runs `workers` workers in this process, without Ray."""

    def __init__(self, workers: int = 1, leave: Leave | None = None) -> None:
        self._workers, self._leave = workers, leave

    @property
    def leave(self) -> Leave | None:
        """Return what ends the process, as it was given."""
        return self._leave

    def fleet(self, config: RunConfig, units: int, worker_bytes: int) -> Fleet:
        """Offer the GPU if PyTorch sees one, else the CPU with a thread for each core."""
        has_gpu = torch.cuda.is_available()
        if config.device == "cuda" and not has_gpu:
            raise ClusterError("this machine has no GPU that PyTorch can see; use --device cpu")
        device = ("cuda" if has_gpu else "cpu") if config.device == "auto" else config.device
        workers, cores = min(self._workers, units), usable_cores()
        # PyTorch counts the cores of the machine, and its threads wait for each other where a container has fewer.
        threads = cores if cores < torch.get_num_threads() else None
        return Fleet(workers, device, threads, where=IN_THIS_PROCESS, cores=max(1, cores // max(1, workers)))

    def pool(self, spec: WorkerSpec, fleet: Fleet) -> Pool:
        """Return a pool in this process."""
        return InProcessPool(spec)

    def close(self) -> None:
        """Do nothing: there is nothing to disconnect."""


class InProcessPool:
    """Runs workers in this process, in turn inside `wait`.

    `checkpoint` may be called from another thread while a worker computes.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._names = (f"local-{number}" for number in itertools.count())
        self._workers: dict[str, GuardedWorker] = {}
        self._events: list[Event] = []
        self._sent: list[tuple[str, list[Task[Unit]], float]] = []

    def start(self) -> str:
        """Build one more worker; its event comes with the next `wait`."""
        name = next(self._names)
        try:
            worker = GuardedWorker(self._spec, name)
        except DeviceLostError as error:
            self._events.append(Died(name, str(error), preempted=False, device=True))
            return name
        except InternalError as error:
            self._events.append(Failed(name, error))
            return name
        self._workers[name] = worker
        self._events.append(Ready(name, worker.slots))
        return name

    def send(self, worker: str, tasks: list[Task[Unit]], budget_s: float) -> None:
        """Queue tasks for a worker, which takes them in the next `wait`."""
        self._sent.append((worker, tasks, budget_s))

    def wait(self, timeout_s: float) -> list[Event]:
        """Let every worker with tasks work, and return all events."""
        events, self._events = self._events, []
        sent, self._sent = self._sent, []
        return events + [self._advance(*each) for each in sent]

    def waiting_for(self) -> str:
        """Return '': a worker is ready when it was started."""
        return ""

    def draining(self) -> set[str]:
        """Return no workers."""
        return set()

    def end(self, worker: str) -> None:
        """End one worker; one that could not be built has nothing to end."""
        if (ended := self._workers.pop(worker, None)) is not None:
            ended.close()

    def set_aside(self, node: str) -> bool:
        """Return False: there is one node."""
        return False

    def checkpoint(self, workers: list[str], timeout_s: float) -> int:
        """Let workers save what is in flight; return how many images were saved."""
        saved = 0
        for name in workers:
            self._workers[name].interrupt()
            with suppress(DeviceLostError):  # its last checkpoint stands
                saved += self._workers[name].checkpoint()
        return saved

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers.values():
            worker.close()

    def _advance(self, worker: str, tasks: Sequence[Task[Unit]], budget_s: float) -> Event:
        try:
            return Reported(worker, self._workers[worker].advance(tasks, budget_s))
        except DeviceLostError as error:
            self.end(worker)
            return Died(worker, str(error), preempted=False, device=True)
        except InternalError as error:
            return Failed(worker, error)
