"""Measures how much memory a piece of work needs beside what is held already."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch


def peak_memory(work: Callable[[], object], device: torch.device) -> int | None:
    """Return the bytes at the peak of `work` beyond those at its beginning: of the GPU's allocator, or of this process.

    None stands for a system that does not report it (anything but Linux).
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    except OSError:
        return None
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # memory that was freed before would be reused uncounted
    before = _of_process("VmRSS")
    work()
    return _of_process("VmHWM") - before


def _of_process(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
