"""Caches the speed that this machine has measured: a small file, by device, generator and precision.

It is a help, not a need: a file that is damaged or cannot be written costs the cached figures and nothing else.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from i2s_batch.config import Json
from i2s_batch.storage.cache_folder import NAME, home, temporary_cache
from i2s_batch.storage.exclusive import try_lock

_LOCK_POLL_S = 0.2


_USUAL_OPTIMIZER = "adam"
_ADDED = ("image_s", "start_s", "failure")  # fields that earlier versions do not know


def named_program(program: str, optimizer: str) -> str:
    """Return the name of a step program as it is cached: with the optimizer, if that is not the paper's."""
    return program if optimizer == _USUAL_OPTIMIZER else f"{program}, {optimizer}"


@dataclass(frozen=True)
class Measured:
    """Holds the seconds of a step and image, with `batch_size` images in a batch on one `device`.

    Attributes:
        device: The device's name.
        generator: The generator's fingerprint.
        precision: The precision.
        batch_size: Images in a batch.
        seconds: The figure; 0 where the program failed.
        program: The step program, in words, as `named_program` makes it.
        software: Versions that the figure depends on.
        image_s: Seconds that an image takes beside its steps: its last evaluation and its metrics.
        start_s: Seconds before the first step, as far as they were measured.
        failure: Why the program cannot be used with this batch size, so that it is not tried again; empty where it can.
    """

    device: str
    generator: str
    precision: str
    batch_size: int
    seconds: float
    program: str
    software: str
    image_s: float = 0.0
    start_s: float = 0.0
    failure: str = ""

    @property
    def optimizer(self) -> str:
        """Return the optimizer whose step it is."""
        return self.program.partition(", ")[2] or _USUAL_OPTIMIZER

    @property
    def key(self) -> tuple[str, str, str, int, str, str]:
        """Return all fields but the outcome."""
        return (self.device, self.generator, self.precision, self.batch_size, self.program, self.software)


def figures_file() -> Path:
    """Return where the figures are cached: $XDG_CACHE_HOME or ~/.cache, in i2s_batch/measured.json.

    Without a home it is the folder for temporary files; without that, too, a path at which no file can be.
    """
    name = "measured.json"
    if general := os.environ.get("XDG_CACHE_HOME"):
        return Path(general) / NAME / name
    if (user := home()) is not None:
        return user / ".cache" / NAME / name
    return (temporary_cache() or Path(os.devnull)) / name


def load_measured(report: Callable[[str], None]) -> list[Measured]:
    """Return all cached figures; none, with a message, if the file is damaged."""
    return [one for one in load_trials(report) if not one.failure]


def load_trials(report: Callable[[str], None]) -> list[Measured]:
    """Return all cached figures and failures; none, with a message, if the file is damaged."""
    file = figures_file()
    try:
        entries = json.loads(file.read_bytes())
        return [_checked(entry) for entry in entries if not _is_old(entry)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError, TypeError, RecursionError) as error:
        report(f"{file} is ignored: it holds no measured figures ({error}); i2s-batch bench writes a new one")
        return []


def save_measured(measured: Measured, report: Callable[[str], None]) -> None:
    """Cache a figure, in place of an older one of the same key."""
    others = [one for one in load_trials(report) if one.key != measured.key]
    file = figures_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "w") as out:
                json.dump([_entry(one) for one in [*others, measured]], out, indent=1)
            Path(temporary).replace(file)
        finally:
            with suppress(FileNotFoundError):
                Path(temporary).unlink()
    except OSError as error:
        report(f"the measured figures are not cached: {file} cannot be written ({error.strerror})")


@contextmanager
def tuning_lock(limit_s: float) -> Iterator[bool]:
    """Let one process of this machine measure at a time; the others then find its figures and compiled programs.

    Yields whether the caller may measure: not if another process still does after `limit_s` seconds. Where no file can
    be locked, all may.
    """
    file = figures_file().with_suffix(".lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.open("a")
    except OSError:
        yield True
        return
    with lock:  # it is given back when the file is closed
        deadline = time.monotonic() + limit_s
        while not (locked := _locked(lock)) and time.monotonic() < deadline:
            time.sleep(_LOCK_POLL_S)
        yield locked


def _locked(lock: TextIO) -> bool:
    """Take a lock, and return whether that is done with; False where another process holds it."""
    try:
        return try_lock(lock)
    except OSError:  # locks that do not work cost the order, and nothing else
        return True


def _is_old(entry: object) -> bool:
    """Return whether an earlier version wrote this entry, without what its figure depends on."""
    return isinstance(entry, dict) and entry.keys() == {"device", "generator", "precision", "batch_size", "seconds"}


def _entry(one: Measured) -> dict[str, Json]:
    """Return an entry of the file; that of a figure alone is as earlier versions write it."""
    return {name: value for name, value in asdict(one).items() if value or name not in _ADDED}


def _checked(entry: object) -> Measured:
    if not isinstance(entry, dict):
        raise ValueError("an entry is not an object")
    one = Measured(**entry)
    texts = all(isinstance(text, str) for text in (one.device, one.generator, one.precision, one.program, one.software))
    texts = texts and isinstance(one.failure, str)
    has_seconds = one.seconds == 0 if one.failure else 0 < one.seconds < float("inf")
    numbers = isinstance(one.batch_size, int) and isinstance(one.seconds, float) and has_seconds
    others = all(isinstance(each, float) and 0 <= each < float("inf") for each in (one.image_s, one.start_s))
    if not texts or not numbers or not others or one.batch_size < 1:
        raise ValueError("an entry has a value out of range")
    return one
