"""Embeds images with what was learned from samples alone: the curvature is then measured at their latents, too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from i2s_batch.encoders.kept_batches import KeptBatches
from i2s_batch.encoders.learning import LearnConfig, Progress
from i2s_batch.errors import ConfigError
from i2s_batch.inversion import Embedder
from i2s_batch.inversion.learned import Learned
from i2s_batch.models import VGG16, Generator
from i2s_batch.presets import preset

# Steps of an image: its latent need not be better than those that the curvature is measured at.
STEPS = 100
# Images of a batch whose latents are kept: what an interruption costs at most.
KEPT_IMAGES = 8

# Returns the image of an id: uint8 [H, W, 3].
ReadImage = Callable[[str], np.ndarray]


def latents_of_images(
    generator: Generator,
    features: VGG16,
    learned: Learned,
    config: LearnConfig,
    ids: Sequence[str],
    read: ReadImage,
    kept: KeptBatches,
    progress: Progress,
) -> np.ndarray:
    """Return the latents of images, float32 [N, L, w_dim], in the order of their ids, after `STEPS` steps of `fast`.

    Raises:
        ConfigError: The loss of an image was not finite.
    """
    size = min(config.batch_size, KEPT_IMAGES)
    settings = replace(preset("fast"), steps=STEPS, loss_weights=config.loss_weights, batch_size=size)
    embedder = Embedder(generator, features, settings, learned=learned)
    parts = []
    for number, start in enumerate(range(0, len(ids), KEPT_IMAGES)):
        names = ids[start : start + KEPT_IMAGES]
        parts.append(kept.get(f"images-{number:05d}", partial(_embedded, embedder, names, read))["latents"])
        progress(start + len(names), len(ids), "images")
    return np.concatenate(parts)


def _embedded(embedder: Embedder, ids: Sequence[str], read: ReadImage) -> dict[str, np.ndarray]:
    images: Iterable[tuple[str, np.ndarray]] = ((image_id, read(image_id)) for image_id in ids)
    latents: dict[str, np.ndarray] = {}
    for result in embedder.embed(images):
        if result.latent is None:
            raise ConfigError(f"the loss of {result.image_id!r} is not finite; leave that image out")
        latents[result.image_id] = result.latent.astype(np.float32)
    return {"latents": np.stack([latents[image_id] for image_id in ids])}
