"""How much memory a piece of work needs beside what is there already."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch


def peak_memory(work: Callable[[], object], device: torch.device) -> int | None:
    """Bytes at the highest point of `work` over those at its beginning: of the GPU's allocator, or of this process.

    None where the system does not tell (anything but Linux).
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the highest point is counted from here
    except OSError:
        return None
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what was freed would be taken again unseen
    before = _of_process("VmRSS")
    work()
    return _of_process("VmHWM") - before


def _of_process(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
