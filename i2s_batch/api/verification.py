"""Verifies the table of any run."""

from __future__ import annotations

from i2s_batch.maintenance.verification.table_checks import Verification, check_table
from i2s_batch.studies.catalogue import variant_settings


def verify(out: str, sample: int = 8, generator: str | None = None, vgg: str | None = None) -> Verification:
    """Check the table at `out`: its plan, each file, each row, and a sample of rows made again from their latents.

    Args:
        out: A local path or s3://bucket/prefix.
        sample: How many rows are made again.
        generator: A path or URL; None for the recorded one.
        vgg: The VGG-16, likewise.

    Faults of the table are findings. Raises StorageError only if there is no output at all, and what `generator` or
    `vgg` raises if it is given and cannot be read or is another.
    """
    return check_table(out, variant_settings, sample, generator, vgg)
