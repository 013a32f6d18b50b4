"""Counts the CPU cores that this process may use, as its container limits them."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")  # of Linux; of a container it is the container's own


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """Return how many cores this process may use: those that it may run on, within the quota of its container."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # Windows and macOS have no such call
        allowed = os.cpu_count() or 1
    quota = _quota(cgroup)
    return allowed if quota is None else max(1, min(allowed, round(quota)))


def _quota(cgroup: Path) -> float | None:
    """Return how many cores' time the control group allows; None where it sets no limit."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # version 2, version 1
        try:
            quota, period = (word for name in names for word in (cgroup / name).read_text().split())
        except (OSError, ValueError):
            continue
        if quota.isdecimal() and period.isdecimal() and int(period) > 0:
            return int(quota) / int(period)
    return None
