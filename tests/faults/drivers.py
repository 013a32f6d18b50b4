"""Drivers in processes of their own, which die by SIGKILL at a chosen write or are killed from outside.

They are forked from a server that has loaded PyTorch already, so that hundreds can die in a few minutes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from i2s_batch.errors import I2SError
from i2s_batch.inversion import Embedder
from i2s_batch.runtime import lease
from i2s_batch.runtime.embed import EmbedJob, EmbedRun
from i2s_batch.runtime.pools import InProcessCluster

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])
PATIENCE_S = 300
_LABEL_BYTES = 200
# What changes a file or folder, as Python's audit hooks name it.
_WRITES = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir")


@dataclass
class Driver:
    """A run of `job` in a process of its own.

    `stop`: (when, signal): before a change of a file under OUT it sends itself the signal: the one of this number,
    counted from 1, or the first that begins so (`os.rename work/rows/`). With SIGSTOP it is the next one outside of
    work/ itself, lest it keep others waiting for the lock of the lease.
    `machine`: what it says its machine is; `heartbeat_s`, `expiry_s`: of its lease.
    """

    job: EmbedJob
    stop: tuple[int | str, int] | None = None
    machine: str | None = None
    heartbeat_s: float = lease.HEARTBEAT_S
    expiry_s: float = lease.EXPIRY_S

    def __post_init__(self) -> None:
        self._updates = _FORKS.Value("q", 0)
        self._writes = _FORKS.Value("q", 0)
        self._seconds = _FORKS.Value("d", 0)
        self._label = _FORKS.Array("c", _LABEL_BYTES)
        self._error = _FORKS.Array("c", 2000)

    @cached_property
    def process(self) -> Any:
        """The process, started at the first use."""
        process = _FORKS.Process(target=_drive, args=(self,), daemon=True)
        process.start()
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
    def writes(self) -> int:
        """Changes of files under OUT."""
        return self._writes.value

    @property
    def seconds(self) -> float:
        """How long the run took, if it came to its end."""
        return self._seconds.value

    @property
    def last_write(self) -> str:
        """The last change of a file: what, and the path under OUT."""
        return self._label.value.decode()

    @property
    def error(self) -> str:
        """What the run was refused or stopped with; '' if it came to its end."""
        return self._error.value.decode()


def _drive(driver: Driver) -> None:
    lease.HEARTBEAT_S, lease.EXPIRY_S = driver.heartbeat_s, driver.expiry_s
    if driver.machine is not None:
        machine = driver.machine
        lease._machine = lambda: machine
    _count_updates(driver)
    _count_writes(driver)
    began = time.monotonic()
    try:
        EmbedRun(driver.job, say=lambda line: None).execute(InProcessCluster())
    except I2SError as error:
        driver._error.value = str(error).encode()[:1999]
    driver._seconds.value = time.monotonic() - began


def _count_updates(driver: Driver) -> None:
    original = Embedder._finished_places

    def count(self: Embedder) -> list[int]:  # called after every step
        driver._updates.value = self.updates
        return original(self)

    Embedder._finished_places = count


def _count_writes(driver: Driver) -> None:
    out = f"{driver.job.out}/"
    waiting = driver.stop is not None

    def is_time(number: int, label: str) -> bool:
        assert driver.stop is not None
        when, number_of_signal = driver.stop
        if number_of_signal == signal.SIGSTOP:
            in_work = label.partition(" ")[2].rpartition("/")[0] == "work"
            return not in_work and (number >= when if isinstance(when, int) else label.startswith(when))
        return number == when if isinstance(when, int) else label.startswith(when)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        writes = event in _WRITES or (event == "open" and isinstance(args[2], int) and args[2] & os.O_CREAT)
        if not writes:
            return
        path = args[1] if event in ("os.rename", "os.link") else args[0]
        if isinstance(path, int) or not os.fspath(path).startswith(out):  # int: a file that is open already
            return
        nonlocal waiting
        label = f"{event} {os.fspath(path).removeprefix(out)}"
        with driver._writes.get_lock():
            driver._writes.value += 1
            driver._label.value = label.encode()[: _LABEL_BYTES - 1]
            now = waiting and is_time(driver._writes.value, label)
            waiting = waiting and not now
        if now and driver.stop is not None:
            os.kill(os.getpid(), driver.stop[1])

    sys.addaudithook(hook)
