"""A row's picture made again from its code, and its stored figures computed again from picture and source."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from i2s_batch.errors import I2SError
from i2s_batch.inversion.fit import fit_picture
from i2s_batch.inversion.loss import mean_square
from i2s_batch.inversion.metrics import from_uint8, picture_metrics, to_uint8
from i2s_batch.models import Generator
from i2s_batch.storage.pictures import decode_picture
from i2s_batch.storage.sources import read_bytes

# Relative, for what another machine, thread count or batch may round differently; TF32 keeps 10 bits of 23.
TOLERANCES = {"fp32": 2e-3, "fp64": 2e-3, "tf32": 5e-2}
_FIGURES = ("mse", "psnr", "ssim", "loss_pixel")


@dataclass(frozen=True)
class Rerendered:
    """What came of it: why it could not be done, or what differs; both empty if the row is reproduced."""

    not_done: str
    differences: list[str]


def rerender(row: dict[str, Any], generator: Generator, fit: str, tolerance: float) -> Rerendered:
    """Compare the figures of `row` (all columns) with those of its code, as `generator` renders it, and its source."""
    if row["mse"] is None:
        return Rerendered("it has no figures of likeness", [])
    try:
        data = read_bytes(row["uri"])
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            return Rerendered(f"{row['uri']} has changed since", [])
        target = fit_picture(decode_picture(data), generator.resolution, fit)
    except I2SError as error:
        return Rerendered(f"its source cannot be read ({error})", [])
    found = _figures(row["latent"], target, generator)
    differences = [
        f"its {name} is {row[name]:.6g}; its latent gives {found[name]:.6g}"
        for name in _FIGURES
        if row[name] is None or not np.isclose(row[name], found[name], rtol=tolerance, atol=0)
    ]
    return Rerendered("", differences)


def _figures(latent: list[float], target: np.ndarray, generator: Generator) -> dict[str, float]:
    ws = torch.tensor(latent).reshape(1, generator.num_layers, generator.w_dim).to(generator.w_avg)
    with torch.no_grad():
        image = generator.synthesize(ws)
        pixel = float(mean_square(image, from_uint8(target, image)[None])[0])
    metrics = picture_metrics(to_uint8(image[0]), target, None, image)
    return {name: float(value) for name, value in metrics.items() if value is not None} | {"loss_pixel": pixel}
