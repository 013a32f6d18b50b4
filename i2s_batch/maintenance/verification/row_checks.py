"""Provides what rows of a table are computed again with: the networks and settings of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from i2s_batch.config import PICTURE_FORMATS, ImageSettings, LossWeights
from i2s_batch.errors import ConfigError
from i2s_batch.inversion.metrics import build_lpips
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.maintenance.verification.edited_images import EditedImages
from i2s_batch.maintenance.verification.embedded_rows import TOLERANCES, EmbeddedRows
from i2s_batch.models import Generator, GeneratorWeights, VGGWeights, build_generator, build_vgg, untrained
from i2s_batch.output.archives.reading import RunImages
from i2s_batch.run.networks import generator_of, vgg_of
from i2s_batch.schema.metadata import META_GENERATOR, META_VGG
from i2s_batch.schema.row import Row
from i2s_batch.schema.settings import RunSettings, TableSettings
from i2s_batch.storage import Store

RowCheck = EmbeddedRows | EditedImages

# Gives the settings of each variant of a study, by the variant's name, from the settings of a run; empty for a run that
# is not a study. Raises ConfigError for an unknown study.
Variants = Callable[[RunSettings], Mapping[str, ImageSettings]]

# Gives what returns the noise maps that the image of an edit's row was drawn with, from its tables and the number of
# values of an image's maps. What it gives raises I2SError where they cannot be read.
KeptNoiseOf = Callable[[Sequence[str], int], Callable[[Row], np.ndarray]]

_LOCATION_UNKNOWN = "without run.json it is not known where the {0} is; give it with --{1}"


@dataclass(frozen=True)
class Networks:
    """Names the networks with which rows are computed again.

    Attributes:
        recorded: Whether there is a run.json that names them.
        generator: A path or URL; None for the recorded one.
        vgg: A path or URL; None for the recorded one.
    """

    recorded: bool
    generator: str | None = None
    vgg: str | None = None


def row_check(
    store: Store,
    metadata: Mapping[str, str],
    settings: TableSettings,
    networks: Networks,
    variants: Mapping[str, ImageSettings],
    kept_noise: KeptNoiseOf,
    unchecked: list[str],
) -> RowCheck | None:
    """Return what computes rows of the table at `store` again, on the CPU, in the precision of the run.

    Raises what `generator_of` and `vgg_of` raise.

    Args:
        store: The output.
        metadata: The metadata of its shards.
        settings: The settings of its run.
        networks: Where the networks are.
        variants: Of a study, the settings of each variant.
        kept_noise: Gives the noise maps of edits that keep those of their images.
        unchecked: Gets a line for everything that cannot be checked, with the reason.

    Returns:
        None without the run's generator.
    """
    weights, why_none = None, _LOCATION_UNKNOWN.format("generator", "generator")
    if networks.recorded or networks.generator is not None:
        weights, why_none = generator_of(store.url, metadata.get(META_GENERATOR, ""), networks.generator)
    if weights is None:
        unchecked.append(f"w_distance, and rows rendered again: {why_none}")
        return None
    run = settings.run
    precision = run.precision if run.precision in TOLERANCES else "fp32"
    generator = build_generator(weights, "cpu", set_numerics("fp64" if precision == "fp64" else "fp32"))
    if not isinstance(settings.source, str):
        if networks.vgg is not None:
            raise ConfigError(
                f"{store.url} is an edit, and edits use no VGG-16; {networks.vgg!r} is given, leave it out"
            )
        picture_format = run.picture_format if run.picture_format in PICTURE_FORMATS else "png"
        kept = run.values.get("noise") == "keep"
        noise = kept_noise(settings.source, generator.noise_layout.size) if kept else None
        return EditedImages(store, RunImages(store, run), generator, picture_format, precision, noise)
    vgg_weights, why_none = None, _LOCATION_UNKNOWN.format("VGG-16", "vgg")
    if networks.recorded or networks.vgg is not None:
        vgg_weights, why_none = vgg_of(store.url, metadata.get(META_VGG, ""), networks.vgg)
    if vgg_weights is None:
        unchecked.append(f"loss, loss_conv* and lpips of rows rendered again: {why_none}")
    return _embedded_rows(run, weights, generator, vgg_weights, precision, variants)


def _embedded_rows(
    settings: RunSettings,
    generator_weights: GeneratorWeights,
    generator: Generator,
    weights: VGGWeights | None,
    precision: str,
    variants: Mapping[str, ImageSettings],
) -> EmbeddedRows:
    vgg = lpips = None
    if weights is not None:
        vgg = build_vgg(weights, "cpu", generator.w_avg.dtype)
        lpips = build_lpips(weights.tensors, torch.device("cpu")) if weights.has_lpips_trunk else None
    loss_weights = settings.loss_weights or LossWeights()
    without_training = None
    if any(variant.untrained for variant in variants.values()):
        without_training = build_generator(untrained(generator_weights), "cpu", generator.w_avg.dtype)
    return EmbeddedRows(generator, vgg, lpips, loss_weights, settings.fit, precision, variants, without_training)
