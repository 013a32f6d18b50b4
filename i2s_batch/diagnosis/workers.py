"""Describes the workers of a run, on this machine or a cluster."""

from __future__ import annotations

from dataclasses import dataclass

from i2s_batch.inversion.batch_size import GPU_BATCH_SIZES
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
        most = GPU_BATCH_SIZES[-1]
        return most if images is None else max(1, min(most, -(-images // self.count)))
