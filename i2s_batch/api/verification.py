"""`verify()` checks whether a table is what it is documented to be."""

from __future__ import annotations

import os

from i2s_batch.argument_types import path_or_url, typed
from i2s_batch.editing.kept_noise import NoiseOfEdits
from i2s_batch.errors import ConfigError
from i2s_batch.maintenance.verification.table_checks import Verification, check_table
from i2s_batch.studies.catalogue import variant_settings


def verify(
    out: str | os.PathLike[str],
    sample: int = 8,
    generator: str | os.PathLike[str] | None = None,
    vgg: str | os.PathLike[str] | None = None,
) -> Verification:
    """Check the table at `out`: its plan, each file, each row, and a sample of rows made again from their latents.

    Args:
        out: A local path or s3://bucket/prefix.
        sample: How many rows are made again.
        generator: A path or URL; None for the recorded one.
        vgg: The VGG-16, likewise.

    Returns:
        What was checked, and every fault; `sound` is true if there is none and the run is finished.

    Raises:
        StorageError: There is no output at all.
        I2SError: `generator` or `vgg` is given and cannot be read, or is another.
    """
    if (sample := typed("sample", sample, int)) < 0:
        raise ConfigError(f"sample is {sample}; it must be at least 0")
    networks = (None if each is None else path_or_url("a network", each) for each in (generator, vgg))
    return check_table(path_or_url("out", out), variant_settings, NoiseOfEdits, sample, *networks)
