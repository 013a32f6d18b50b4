"""Limits waits for workers: what is waited for, since when, and for how long at most."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Wait:
    """Describes a wait for `what`, begun at `since` on the monotonic clock."""

    what: str
    limit_s: float
    since: float

    @classmethod
    def begin(cls, what: str, limit_s: float) -> Wait:
        """Return a wait that begins now."""
        return cls(what, limit_s, time.monotonic())

    @property
    def is_over(self) -> bool:
        """Return whether it has lasted too long."""
        return time.monotonic() - self.since > self.limit_s
