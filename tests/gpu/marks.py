"""Which case a job is at, and until when it may be there: a file that the job writes and the parent reads."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.gpu.bench import Options

START_LIMIT_S, END_LIMIT_S = 90.0, 60.0  # for a process to start, and to end


def mark(options: Options, job: str, number: int, limit_s: float) -> None:
    """Write that a job is at the case `number`, for `limit_s` times the probe's patience at most."""
    new = Path(options.work, f"{job}.new")
    new.write_text(json.dumps([number, time.time() + limit_s * options.patience]))
    new.replace(_path(options, job))  # whole: the other side reads it at any time


def read_mark(options: Options, job: str) -> tuple[int, float]:
    """Return which case a job is at, and its deadline (`time.time()`)."""
    number, deadline = json.loads(_path(options, job).read_text())
    return number, deadline


def _path(options: Options, job: str) -> Path:
    return Path(options.work, f"{job}.at")
