"""A metric of another program, in one file: the largest error of a pixel. It is a column of the table."""

from __future__ import annotations

import numpy as np

from i2s_batch.engine_registries import MetricDeclaration
from i2s_batch.inversion.metrics import Reconstruction


def largest_error(reconstruction: Reconstruction) -> float:
    """Measure the final 8-bit image, uint8 [R, R, 3], against its target."""
    return float(np.abs(reconstruction.image.astype(int) - reconstruction.target.astype(int)).max())


LARGEST_ERROR = MetricDeclaration(
    "largest_error", "largest error of a value, levels", "tests.extension.largest_error:largest_error", title="Largest"
)
