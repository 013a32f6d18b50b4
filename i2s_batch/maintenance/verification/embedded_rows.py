"""Checks a row of an embedding: compares its figures with those of its latent's image and of the source."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from i2s_batch.config import TERMS, ImageSettings, LossWeights
from i2s_batch.engine_registries import METRICS
from i2s_batch.errors import I2SError
from i2s_batch.images.align.shown import as_embedded
from i2s_batch.images.read.decoding import DecodedImage, decode_file
from i2s_batch.inversion.loss import loss_terms, loss_weight_vector
from i2s_batch.inversion.metrics import PerceptualDistance, from_uint8, image_metrics, to_uint8
from i2s_batch.inversion.synthesis import synthesised
from i2s_batch.models import VGG16, Generator
from i2s_batch.schema.row import Row
from i2s_batch.sources.image_bytes import read_bytes

# Relative differences that another machine, thread count or batch may make by rounding; TF32 keeps 10 bits of 23.
TOLERANCES = {"fp32": 2e-3, "fp64": 2e-3, "tf32": 5e-2, "bf16": 5e-2}


class ReadNoise(Protocol):
    """Reads the noise maps of an image of a shard."""

    def read(self, key: str, image_id: str) -> np.ndarray:
        """Return the maps, float16 [noise_layout.size]; I2SError if there are none."""
        ...


@dataclass(frozen=True)
class Rerendered:
    """Holds the outcome: why a row could not be checked, or what differs; both empty if the row is reproduced."""

    not_done: str
    differences: list[str]


@dataclass(frozen=True)
class EmbeddedRows:
    """Computes rows again with the networks and settings of their run.

    Attributes:
        generator: The generator of the run.
        vgg: The VGG-16; None leaves out the figures that need it.
        lpips: The perceptual distance; None for a run without weights for it.
        loss_weights: The loss weights of the run.
        fit: How images were made square.
        precision: The run's precision.
        variants: Of a study, the settings of each variant.
        untrained: The generator of variants that are `untrained`.
        noise: Reads the noise maps of rows; None for a run without any.
    """

    generator: Generator
    vgg: VGG16 | None
    lpips: PerceptualDistance | None
    loss_weights: LossWeights
    fit: str
    precision: str
    variants: Mapping[str, ImageSettings] = field(default_factory=dict)
    untrained: Generator | None = None
    noise: ReadNoise | None = None

    @property
    def within(self) -> str:
        """Return the tolerance as text."""
        return f"{100 * TOLERANCES[self.precision]:.1f} %"

    def check(self, row: Row) -> Rerendered:
        """Compare the metrics and loss terms of `row` with those of its latent and its source."""
        figures = {**row.metrics} | {f"loss_{term}": value for term, value in row.terms.items()} | {"loss": row.loss}
        if figures["mse"] is None or row.latent is None:
            return Rerendered("it has no metrics to compare", [])
        try:
            data = read_bytes(row.uri)
            if hashlib.sha256(data).hexdigest() != row.sha256:
                return Rerendered(f"{row.uri} has changed since it was embedded", [])
            decoded = decode_file(data)
            target = self._target(row, decoded)
        except I2SError as error:
            return Rerendered(f"its source cannot be read ({error})", [])
        found = self._figures(row, row.latent, target)
        differences = _file_differences(row, decoded, len(data)) + [
            f"its {name} is {_shown(figures[name])}; its latent gives {_shown(found[name])}"
            for name in _figure_names()
            if name in figures and name in found and not self._alike(name, figures[name], found[name])
        ]
        return Rerendered("", differences)

    def check_with_noise(self, row: Row, key: str) -> Rerendered:
        """Compare `row`, of the shard at `key`, as `check` does, and its figures with noise maps if it has some."""
        result = self.check(row)
        if self.noise is None or row.noise_steps is None or row.latent is None or result.not_done:
            return result
        try:
            maps = self.noise.read(key, row.image_id)
        except I2SError as error:
            return Rerendered("", [*result.differences, f"its noise maps cannot be read ({error})"])
        target = self._target(row, decode_file(read_bytes(row.uri)))
        figures = {"mse": row.noise_mse, "psnr": row.noise_psnr, "ssim": row.noise_ssim, "loss": row.noise_loss}
        found = self._figures(row, row.latent, target, maps)
        return Rerendered(
            "",
            result.differences
            + [
                f"its noise_{name} is {_shown(stored)}; its latent and noise maps give {_shown(found[name])}"
                for name, stored in figures.items()
                if name in found and not self._alike(name, stored, found[name])
            ],
        )

    def _target(self, row: Row, decoded: DecodedImage) -> np.ndarray:
        """Return what the generator was shown of an image file, uint8 [R, R, 3]."""
        return as_embedded(decoded.pixels, self.generator.resolution, self.fit, row.landmarks, row.crop_box)

    def _alike(self, name: str, stored: float | None, found: float | None) -> bool:
        if stored is None or found is None:
            return stored is found
        metric = METRICS.get(name) if name in METRICS else None
        tolerance = TOLERANCES[self.precision] if metric is None else metric.tolerance_in(self.precision)
        return bool(np.isclose(stored, found, rtol=tolerance, atol=0))

    def _figures(
        self, row: Row, latent: np.ndarray, target: np.ndarray, noise: np.ndarray | None = None
    ) -> dict[str, float | None]:
        variant = self.variants.get(str(row.extra.get("variant", "")))
        generator = self.untrained if variant is not None and variant.untrained else self.generator
        assert generator is not None
        loss_weights = self.loss_weights if variant is None else variant.embed.loss_weights
        image = synthesised(latent, generator, noise)
        targets = from_uint8(target, image)[None]
        features, target_features = ((), ()) if self.vgg is None else (self.vgg(image), self.vgg(targets))
        terms = loss_terms(image, targets, features, target_features)[0]
        figures = image_metrics(to_uint8(image[0]), target, self.lpips, image)
        figures |= {f"loss_{term}": value for term, value in zip(TERMS, terms.tolist(), strict=False)}
        if self.vgg is None:
            figures = {name: value for name, value in figures.items() if name not in _metrics(needs_vgg=True)}
        else:
            figures["loss"] = float(terms @ loss_weight_vector(loss_weights, terms))
        return figures


def _file_differences(row: Row, decoded: DecodedImage, size: int) -> list[str]:
    """Return where the columns of a row's file differ from the file; those of an earlier version are null."""
    height, width = decoded.pixels.shape[:2]
    found = {"width": width, "height": height, "bytes": size, "format": decoded.format, "mode": decoded.mode}
    return [
        f"its {name} is {stored}; the file gives {found[name]}"
        for name in found
        if (stored := getattr(row, name)) is not None and stored != found[name]
    ]


def _figure_names() -> list[str]:
    """Return the figures in the order in which they are reported; those after loss_pixel need the VGG-16."""
    with_vgg = [*(f"loss_{term}" for term in TERMS[1:]), "loss", *_metrics(needs_vgg=True)]
    return [*_metrics(needs_vgg=False), f"loss_{TERMS[0]}", *with_vgg]


def _metrics(needs_vgg: bool) -> list[str]:
    """Return the metrics of images alone: those that need the VGG-16, or those that do not."""
    return [metric.name for metric in METRICS if not metric.needs_latent and metric.needs_vgg == needs_vgg]


def _shown(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.6g}"
