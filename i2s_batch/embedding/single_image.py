"""Embeds one image as the run that made a table would have embedded it, in this process."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pyarrow.compute as pc
import torch

from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.targets import Targets
from i2s_batch.errors import CheckpointError, ConfigError, PictureError
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.inversion import Embedder, EmbedResult
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.memory import keep_freed_memory
from i2s_batch.inversion.numerics import feature_map_dtype, set_numerics
from i2s_batch.models import GeneratorWeights, VGGWeights, build_generator, build_vgg
from i2s_batch.run.networks import generator_of, learned_of, vgg_of
from i2s_batch.schema.metadata import META_GENERATOR, META_VGG, texts_of
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.source import item_in
from i2s_batch.table.dataset import TableFiles, open_table
from i2s_batch.table.shards import recorded_settings

_PROGRESS_EVERY_S = 0.25

_Weights = TypeVar("_Weights", GeneratorWeights, VGGWeights, Learned)


@dataclass(frozen=True)
class NewImage:
    """Holds an image and its latent.

    Attributes:
        image_id: The id that the run would give it.
        latent: float32 [L * w_dim].
        original: The image fitted to the generator's square, uint8 [R, R, 3].
        reconstruction: The image that the generator makes of the latent, uint8 [R, R, 3].
    """

    image_id: str
    latent: np.ndarray
    original: np.ndarray
    reconstruction: np.ndarray


def embed_image(
    out: str,
    file: str,
    generator: str | None = None,
    vgg: str | None = None,
    steps: int | None = None,
    progress: Callable[[int, int], None] = lambda done, steps: None,
    learned: str | None = None,
) -> NewImage:
    """Embed the image at `file` with the settings and networks of the run at `out`.

    Its latent is the one that the run would give it, but for what another batch rounds differently.

    Args:
        out: The output of the run, a local path or s3://.
        file: A local path or s3://.
        generator: A path or URL; None for the recorded one.
        vgg: The VGG-16 weights, likewise.
        steps: Optimizer steps; None for those of the run.
        progress: Is called with the steps taken and the steps in total, a few times a second.
        learned: The learned file, if the run has one, likewise.

    Raises:
        PictureError: The file is no image, or the optimisation diverged.
        ConfigError: The table holds edits.
        CheckpointError: A network cannot be read.
        RunConflictError: A network is not that of the run.
        StorageError: There is no table.
    """
    table = open_table(out)
    metadata = texts_of(table.schema.metadata)
    settings = recorded_settings(table.schema, table.url)
    if settings.run.steps is None or not isinstance(settings.source, str):
        raise ConfigError(
            f"{table.url} holds edits; an image can be embedded only with the settings of an embedding run"
        )
    config = settings.run.embed_config()
    config = replace(config, batch_size=1, steps=config.steps if steps is None else steps)
    image_id, uri = item_in(settings.source, file)
    try:
        data = read_bytes(uri)
        pixels = decode_image(data)
    except PictureError as error:
        raise PictureError(f"{file!r} cannot be embedded: {error}") from error
    if config.init == "random":  # the start is drawn for the id
        image_id = _id_in_table(table, data) or image_id
    weights = _required(generator_of(out, metadata.get(META_GENERATOR, ""), generator))
    features = _required(vgg_of(out, metadata.get(META_VGG, ""), vgg))
    if learned and not config.learned:
        raise ConfigError(f"{table.url} was embedded without a learned file; leave {learned!r} out")
    start = _required(learned_of(out, config.learned, learned)) if config.learned else None
    embedder, resolution = _embedder(weights, features, config, settings.run.precision, start)
    target = _target(pixels, uri, replace(settings.run.embed_run_config(), embed=config), resolution)
    try:
        result = _embedded(embedder, image_id, target, progress)
    except torch.OutOfMemoryError as error:
        advice = "with CUDA_VISIBLE_DEVICES= (empty) it is embedded on the CPU"
        raise ConfigError(f"the GPU has too little memory for an image beside what it holds; {advice}") from error
    if result.latent is None or result.picture is None:
        raise PictureError(f"{file!r} cannot be embedded: the loss was not finite after {result.steps} steps")
    return NewImage(image_id, result.latent.astype(np.float32).ravel(), target, result.picture)


def _target(pixels: np.ndarray, uri: str, config: EmbedRunConfig, resolution: int) -> np.ndarray:
    """Return what the run would embed of an image: a list's column of boxes knows nothing of it."""
    targets = Targets(config, resolution)
    try:
        return targets.of(pixels, uri).pixels
    except PictureError as error:
        raise PictureError(f"{uri!r} cannot be embedded: {error}") from error
    finally:
        targets.close()


def _id_in_table(table: TableFiles, data: bytes) -> str | None:
    """Return the id of the image with the bytes `data`, wherever its file is now; None if the table has none."""
    sha256 = hashlib.sha256(data).hexdigest()
    for shard in table.shards:
        for batch in shard.batches(columns=["image_id", "sha256"]):
            index = pc.index(batch["sha256"], sha256).as_py()
            if index >= 0:
                return str(batch["image_id"][index])
    return None


def _required(found: tuple[_Weights | None, str]) -> _Weights:
    weights, why_none = found
    if weights is None:
        raise CheckpointError(f"an image cannot be embedded: {why_none}")
    return weights


def _embedder(
    generator: GeneratorWeights, vgg: VGGWeights, config: EmbedConfig, precision: str, learned: Learned | None
) -> tuple[Embedder, int]:
    """Return an embedder with one slot, on the GPU if there is one, and the side of the generator's images."""
    keep_freed_memory()
    dtype, maps = set_numerics(precision), feature_map_dtype(precision)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = build_generator(generator, device, dtype, maps)
    features = build_vgg(vgg, device, dtype, maps)
    return Embedder(network, features, config, learned=learned), network.resolution


def _embedded(
    embedder: Embedder, image_id: str, target: np.ndarray, progress: Callable[[int, int], None]
) -> EmbedResult:
    embedder.put(image_id, target)
    while True:
        progress(embedder.in_flight[image_id], embedder.config.steps)
        finished = embedder.advance(_after(_PROGRESS_EVERY_S))
        if finished:
            return finished[0]


def _after(seconds: float) -> Callable[[], bool]:
    due = time.monotonic() + seconds
    return lambda: time.monotonic() >= due
