"""Drivers in processes of their own, which die by SIGKILL at a chosen write or are killed from outside.

They are forked from a server that has loaded PyTorch already, so that hundreds can die in a few minutes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from i2s_batch.editing.edit_run import EditRun, EditRunRequest
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.errors import I2SError
from i2s_batch.inversion import Embedder
from i2s_batch.models.loading import generator_weights
from i2s_batch.output import lease
from i2s_batch.run.execution import Run, RunInterruptedError
from i2s_batch.run.pools import Cluster, InProcessCluster
from i2s_batch.storage import exclusive

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])
PATIENCE_S = 300
INTERRUPTED = 3  # exit status of a driver that was told to stop
STARTED: list[Any] = []  # processes
# What changes a file or folder, as Python's audit hooks name it.
_WRITES = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir")


class Stop(NamedTuple):
    """`signal` before the change of a file under OUT that is the `number`-th, counted from 1, of those that begin with
    `write` (`os.rename work/rows/`; '' for all)."""

    signal: int
    write: str = ""
    number: int = 1


@dataclass
class Driver:
    """A run of `job`, an embedding or an edit, in a process of its own. What it says is added to `OUT.said`.

    `on`: makes the cluster of its workers, in that process.
    `stop`: when it sends itself a signal.
    `machine`: what it says its machine is; `heartbeat_s`, `expiry_s`, `lock_timeout_s`: of its lease.
    """

    job: EmbedRunRequest | EditRunRequest
    on: Callable[[], Cluster] = InProcessCluster
    stop: Stop | None = None
    machine: str | None = None
    heartbeat_s: float = lease.HEARTBEAT_S
    expiry_s: float = lease.EXPIRY_S
    lock_timeout_s: float = exclusive.LOCK_TIMEOUT_S

    def __post_init__(self) -> None:
        self._updates = _FORKS.Value("q", 0)
        self._seconds = _FORKS.Value("d", 0)
        self._error = _FORKS.Array("c", 2000)

    @cached_property
    def process(self) -> Any:
        """The process, started at the first use."""
        process = _FORKS.Process(target=_drive, args=(self,), daemon=True)
        process.start()
        STARTED.append(process)
        return process

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "process"}

    def end(self, after_s: float | None = None) -> Driver:
        """Wait for the end of the process; `after_s`: kill it then, unless it has ended."""
        self.process.join(PATIENCE_S if after_s is None else after_s)
        if after_s is not None:
            self.process.kill()
            self.process.join(PATIENCE_S)
        assert self.process.exitcode is not None, f"a driver still runs after {PATIENCE_S} s"
        return self

    @property
    def killed(self) -> bool:
        """Whether it died by SIGKILL."""
        return self.process.exitcode == -signal.SIGKILL

    @property
    def updates(self) -> int:
        """Optimiser steps made, over all images."""
        return self._updates.value

    @property
    def seconds(self) -> float:
        """How long the run took, if it came to its end."""
        return self._seconds.value

    @property
    def error(self) -> str:
        """What the run was refused or stopped with; '' if it came to its end."""
        return self._error.value.decode()


def _drive(driver: Driver) -> None:
    lease.HEARTBEAT_S, lease.EXPIRY_S = driver.heartbeat_s, driver.expiry_s
    exclusive.LOCK_TIMEOUT_S = driver.lock_timeout_s
    if driver.machine is not None:
        machine = driver.machine
        lease.this_machine = lambda: machine
    _count_updates(driver)
    _stop_at_a_write(driver)
    began = time.monotonic()
    try:
        with Path(f"{driver.job.out}.said").open("a", buffering=1) as said:
            _run_of(driver.job, lambda line: print(line, file=said)).execute(driver.on())
    except RunInterruptedError:
        sys.exit(INTERRUPTED)
    except I2SError as error:
        driver._error.value = str(error).encode()[:1999]
    driver._seconds.value = time.monotonic() - began


def _run_of(job: EmbedRunRequest | EditRunRequest, report: Callable[[str], None]) -> Run:
    if isinstance(job, EmbedRunRequest):
        return EmbedRun(job, report=report)
    return EditRun(job, generator_weights(job.generator), report)


def _count_updates(driver: Driver) -> None:
    def note(self: Embedder, updates: int) -> None:  # with every update, whatever ends the process
        vars(self)["updates"] = driver._updates.value = updates

    Embedder.updates = property(lambda self: vars(self)["updates"], note)


def _stop_at_a_write(driver: Driver) -> None:
    out = f"{driver.job.out}/"
    matching, lock = 0, threading.Lock()

    def is_time(label: str) -> bool:
        nonlocal matching
        if driver.stop is None or not label.startswith(driver.stop.write):
            return False
        if driver.stop.signal == signal.SIGSTOP and label.partition(" ")[2].rpartition("/")[0] == "work":
            return False  # it may hold the lock of the lease, for which others would wait
        matching += 1
        return matching == driver.stop.number

    def hook(event: str, args: tuple[Any, ...]) -> None:
        writes = event in _WRITES or (event == "open" and isinstance(args[2], int) and args[2] & os.O_CREAT)
        if not writes:
            return
        path = args[1] if event in ("os.rename", "os.link") else args[0]
        if isinstance(path, int) or not os.fspath(path).startswith(out):  # int: a file that is open already
            return
        label = f"{event} {os.fspath(path).removeprefix(out)}"
        with lock:
            now = is_time(label)
        if now and driver.stop is not None:
            os.kill(os.getpid(), driver.stop.signal)

    sys.addaudithook(hook)
