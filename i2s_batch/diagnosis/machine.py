"""Checks cores, memory and shared memory, as the container limits them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from i2s_batch.diagnosis.asked import Asked, Known
from i2s_batch.diagnosis.findings import Finding, fail, ok, warn
from i2s_batch.diagnosis.limits import Limits, read_limits
from i2s_batch.plurals import counted

LEAST_BYTES = 700 << 20  # that Python, PyTorch and Ray take in a worker (run.execution.WORKER_BYTES)
ENOUGH_BYTES = 2 << 30
LEAST_SHARED_BYTES = 256 << 20


def size(count: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit, power in (("TiB", 40), ("GiB", 30), ("MiB", 20)):
        if count >= 1 << power:
            return f"{count / (1 << power):.1f} {unit}"
    return f"{count / 1024:.0f} KiB"


def check(asked: Asked, known: Known) -> Iterator[Finding]:
    """Yield what this process may use of the machine."""
    limits = read_limits(Path(asked.root))
    known.cores, known.memory_bytes = limits.cores, limits.free_bytes
    yield _cores(limits)
    yield _memory(limits)
    shared = Path(asked.root, "dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        name, found = "/dev/shm", f"{size(free)} free"
        advice = "Ray keeps networks in a slower folder then; start the container with --shm-size=2g"
        yield warn(name, found, advice) if free < LEAST_SHARED_BYTES else ok(name, found)


def _cores(limits: Limits) -> Finding:
    found = counted(limits.machine_cores, "core")
    if limits.cores < limits.machine_cores:
        by = "the CPU set" if limits.quota_cores is None or limits.allowed_cores < limits.quota_cores else "a cgroup"
        found = f"{limits.cores:g} of {limits.machine_cores} cores, limited by {by}"
    whole = max(1, int(limits.cores))
    if limits.quota_cores is None or limits.quota_cores >= limits.allowed_cores or _threads() <= whole:
        return ok("cores", found)
    advice = f"set OMP_NUM_THREADS={whole} and give --actors {whole}, or raise the limit (docker run --cpus)"
    return warn("cores", f"{found}, and PyTorch starts a thread for each of {limits.allowed_cores}", advice)


def _threads() -> float:
    """Return how many threads PyTorch is told to use; more than any machine has where it is not told."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() else float("inf")


def _memory(limits: Limits) -> Finding:
    if limits.memory_bytes is None or limits.free_bytes is None:
        return ok("memory", "not known on this system")
    limited = ", limited by a cgroup" if limits.is_limited else ""
    found = f"{size(limits.free_bytes)} free of {size(limits.memory_bytes)}{limited}"
    if limits.free_bytes < LEAST_BYTES:
        return fail(
            "memory", found, f"a worker takes {size(LEAST_BYTES)} and its networks; free some or raise the limit"
        )
    if limits.free_bytes < ENOUGH_BYTES:
        return warn("memory", found, "workers on a CPU may be ended for lack of it; give a small --actors")
    return ok("memory", found)
