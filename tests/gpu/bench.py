"""What a measuring process writes to, and how it takes times beside others."""

from __future__ import annotations

import contextlib
import fcntl
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = "results.jsonl"


@dataclass(frozen=True)
class Options:
    """The settings of a probe, the same in all its processes.

    `out`: folder of the results; `work`: a temporary folder that all processes share; `began`: when the probe was
    started (`time.time()`); `beside`: processes side by side; `patience`: a factor on the time limits of cases.
    """

    out: str
    work: str
    began: float
    device: str
    resolution: int
    seconds: float
    beside: int
    only: tuple[str, ...] = ()
    patience: float = 1.0
    smoke: bool = False


def record(options: Options, /, **facts: Any) -> None:
    """Append one whole line to the results; several processes do so."""
    line = json.dumps(facts | {"at_s": round(time.time() - options.began, 1)}, default=str)
    with Path(options.out, RESULTS).open("a") as file:
        file.write(line + "\n")


class Bench:
    """A measuring process: its device, its results, and the lock under which times are taken."""

    def __init__(self, options: Options) -> None:
        import torch  # the parent process needs none of it

        if options.smoke:
            torch.set_num_threads(1)
        self.options, self._torch = options, torch
        self.device = torch.device(options.device)
        self.cuda = self.device.type == "cuda"
        self.cached: tuple[Any, Any] = (None, None)  # what the networks of the last case are, and the networks

    def record(self, /, **facts: Any) -> None:
        """Append one line to the results."""
        record(self.options, **facts)

    def log(self, text: str) -> None:
        """Write a line to the log, with the seconds since the start."""
        print(f"[{time.time() - self.options.began:6.1f}] {text}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep the other processes from taking times meanwhile."""
        with Path(self.options.work, "gpu.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed
            yield

    def sync(self) -> None:
        """Wait until the device has done everything."""
        if self.cuda:
            self._torch.cuda.synchronize()

    def timed(self, work: Callable[[], object], times: int, stretches: int = 4) -> list[float]:
        """Return the seconds of one `work`, averaged over `times` calls, for each of some stretches."""
        seconds = []
        for _ in range(stretches):
            with self.exclusive():
                self.sync()
                began = time.perf_counter()
                for _ in range(times):
                    work()
                self.sync()
                seconds.append((time.perf_counter() - began) / times)
        return seconds
