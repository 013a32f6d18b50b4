"""Reads what a container allows its processes: cores and memory, as cgroups of either version limit them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_CGROUPS = "sys/fs/cgroup"
# Controllers of version 1 have a folder of their own, which may have several names.
_CPU = ("cpu", "cpu,cpuacct", "cpuacct,cpu")


@dataclass(frozen=True)
class Limits:
    """Holds what this process may use.

    Attributes:
        machine_cores: The cores of the machine.
        allowed_cores: Those that this process may run on.
        quota_cores: The cores' worth of time that a cgroup allows; None without a limit.
        memory_bytes: The memory of the machine, or what a cgroup allows if that is less; None where it is unknown.
        free_bytes: What is left of it.
        is_limited: Whether a cgroup limits the memory.
    """

    machine_cores: int
    allowed_cores: int
    quota_cores: float | None
    memory_bytes: int | None
    free_bytes: int | None
    is_limited: bool

    @property
    def cores(self) -> float:
        """Return the cores that this process may use; a fraction where the time is limited."""
        return self.allowed_cores if self.quota_cores is None else min(self.allowed_cores, self.quota_cores)


def read_limits(root: Path = Path("/")) -> Limits:
    """Return the limits of this process, from the /proc and /sys below `root`."""
    machine = os.cpu_count() or 1
    with_affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    allowed = len(with_affinity(0)) if with_affinity is not None else machine
    total, free = _of_machine(root)
    group = min(_memory_limits(root), default=None)
    is_limited = group is not None and (total is None or group[0] < total)
    if group is not None and is_limited:
        total, free = group[0], min(free if free is not None else group[0], max(0, group[0] - group[1]))
    return Limits(machine, allowed, min(_quotas(root), default=None), total, free, is_limited)


def _own_groups(root: Path, names: tuple[str, ...]) -> Iterator[Path]:
    """Yield the folders of this process's cgroups, from its own to the root of the hierarchy.

    `names`: those of a controller of version 1; version 2 has one hierarchy without a name.
    """
    mounts = [root / _CGROUPS / name for name in names] + [root / _CGROUPS, root / _CGROUPS / "unified"]
    paths = {"/"}
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or set(controllers.split(",")) & set(names):
                paths.add(path)
    for mount in mounts:
        for path in paths:
            folder = mount / path.strip("/")
            while mount in (folder, *folder.parents):
                yield folder
                folder = folder.parent


def _quotas(root: Path) -> Iterator[float]:
    """Yield the cores' worth of time that each cgroup above this process allows."""
    for folder in _own_groups(root, _CPU):
        with suppress(OSError, ValueError):  # there is no such file, or it says `max`
            quota, period = (int(each) for each in (folder / "cpu.max").read_text().split())
            yield quota / period
        with suppress(OSError, ValueError):
            quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
            if quota > 0:
                yield quota / period


def _memory_limits(root: Path) -> Iterator[tuple[int, int]]:
    """Yield the bytes that each cgroup above this process allows, and those in use; files that were read count not."""
    for folder in _own_groups(root, ("memory",)):
        for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            with suppress(OSError, ValueError):
                yield int((folder / limit).read_text()), int((folder / usage).read_text()) - _cached(folder)


def _cached(folder: Path) -> int:
    """Return the bytes of files that a cgroup holds in memory, which it gives up when programs need them."""
    with suppress(OSError, ValueError):
        lines = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return sum(int(value) for name, value in lines if name in ("inactive_file", "total_inactive_file"))
    return 0


def _of_machine(root: Path) -> tuple[int | None, int | None]:
    """Return the memory of the machine, and what is available of it, in bytes."""
    found: dict[str, int] = {}
    with suppress(OSError, ValueError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            name, _, amount = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                found[name] = int(amount.split()[0]) << 10
    return found.get("MemTotal"), found.get("MemAvailable")
