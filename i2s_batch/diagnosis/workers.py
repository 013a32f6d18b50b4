"""Describes the workers of a run, on this machine or a cluster."""

from __future__ import annotations

from dataclasses import dataclass

from i2s_batch.inversion.tuning import LARGEST_BATCH_SIZE
from i2s_batch.plurals import counted


@dataclass(frozen=True)
class Workers:
    """Describes the workers of a run; `threads` None leaves PyTorch's choice."""

    count: int
    device: str
    threads: int | None = None

    @property
    def described(self) -> str:
        """Return them in words."""
        each = "" if self.threads is None else f" of {counted(self.threads, 'thread')}"
        where = "GPU" if self.device == "cuda" else "CPU"
        return f"{counted(self.count, 'worker')}{each} on {where}"

    def most_slots(self, images: int | None) -> int:
        """Return the most images of a batch, so that all workers have some of those that there are."""
        share = LARGEST_BATCH_SIZE if images is None else -(-images // self.count)
        return max(1, min(LARGEST_BATCH_SIZE, share))
