"""Chooses how many images are embedded in a batch on a CPU, which is not measured; `tuning` measures a GPU."""

from __future__ import annotations

# On a CPU one image fills the cores from 256 pixels on, and more images only overflow its caches; up to this resolution
# four are faster than two, and two than one (docs/speed.md).
CPU_BATCH_RESOLUTION = 128
CPU_BATCH_SIZE = 4


def cpu_batch_size(resolution: int) -> int:
    """Return the batch size that is fastest without a GPU, for a generator of this resolution."""
    return CPU_BATCH_SIZE if resolution <= CPU_BATCH_RESOLUTION else 1
