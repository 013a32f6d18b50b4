"""Embeddings by the engine: all families and spaces, both starts and optimisers, early stopping, all fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from i2s_batch import EmbedConfig, Embedder, load_generator, load_vgg
from i2s_batch.config import FITS, SPACES, LossWeights
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.inversion import EmbedResult
from i2s_batch.inversion.numerics import set_numerics
from tests.hashes.materials import FAMILIES, IMAGES, network

STEPS = 20
# L-BFGS begins after a hundred steps of Adam.
LBFGS_STEPS = 112


@dataclass(frozen=True)
class Case:
    """One setting of the engine, and how many of the source images are embedded, that many in a batch at most."""

    name: str
    config: EmbedConfig
    family: str = "stylegan1"
    images: int = 3


def cases() -> Iterator[Case]:
    """Yield every setting."""
    base = EmbedConfig(steps=STEPS, batch_size=3, learning_rate=0.03)
    for family in FAMILIES:
        for space in SPACES:
            slow = family == "stylegan3"  # seconds where the others take tenths
            config = replace(base, space=space, steps=STEPS // 3 if slow else STEPS)
            images = (2 if space == "w+" else 1) if slow else 3
            yield Case(f"{family} {space}", config, family, images)
    for space in SPACES:
        yield Case(f"random {space}", replace(base, space=space, init="random", seed=5))
        yield Case(f"lbfgs {space}", replace(base, space=space, optimizer="lbfgs", steps=LBFGS_STEPS), images=2)
    yield Case("early stopping", replace(base, steps=60, stop_plateau=5.0, plateau_steps=10))
    weights = LossWeights(pixel=0.5, conv1_1=0.0, conv1_2=2.0, conv3_2=1.0, conv4_2=0.25)
    yield Case("loss weights", replace(base, loss_weights=weights), images=1)
    for fit in FITS:
        yield Case(f"fit {fit}", replace(base, fit=fit, steps=5), images=1)


def results(vgg: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Embed every case in batches of three, and yield latents, images and figures by name."""
    for case in cases():
        for result in embedded(case, vgg):
            yield from named(f"embeddings/{case.name}/{result.image_id}", result)


def embedded(case: Case, vgg: Path, batch_size: int | None = None) -> Iterator[EmbedResult]:
    """Embed the images of a case; `batch_size` replaces that of the case."""
    dtype = set_numerics("fp64")
    generator, features = load_generator(network(case.family), dtype=dtype), load_vgg(vgg, dtype=dtype)
    config = case.config if batch_size is None else replace(case.config, batch_size=batch_size)
    pictures = [(path.name, decode_image(path.read_bytes())) for path in IMAGES[: case.images]]
    if case.name.startswith("fit"):
        pictures = [(name, pixels[:, : pixels.shape[1] * 2 // 3]) for name, pixels in pictures]
    yield from Embedder(generator, features, config).embed(pictures)


def named(name: str, result: EmbedResult) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what a result holds: latents float64, the image uint8, and its figures in one array."""
    assert result.latent is not None and result.picture is not None, f"{name} diverged"
    yield f"{name}/latent", result.latent
    if result.z is not None:
        yield f"{name}/z", result.z
    yield f"{name}/image", result.picture
    metrics = [value for _, value in sorted(result.metrics.items()) if value is not None]
    figures = [float(result.steps), result.loss, *result.terms.values(), *metrics, *result.curve.tolist()]
    yield f"{name}/figures", np.array(figures, np.float64)
