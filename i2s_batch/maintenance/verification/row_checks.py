"""What the rows of a table are made again with: the networks and settings of its run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from i2s_batch.config import PICTURE_FORMATS, EmbedConfig, LossWeights
from i2s_batch.inversion.metrics import build_lpips
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.maintenance.verification.edited_images import EditedPictures
from i2s_batch.maintenance.verification.embedded_rows import TOLERANCES, EmbeddedRows
from i2s_batch.models import Generator, GeneratorWeights, VGGWeights, build_generator, build_vgg, untrained
from i2s_batch.run.networks import generator_of, vgg_of
from i2s_batch.schema.codec import META_GENERATOR, META_SETTINGS, META_VGG
from i2s_batch.storage import Store
from i2s_batch.studies.catalogue import Variant, study_of

RowCheck = EmbeddedRows | EditedPictures

_NOWHERE = "without run.json nothing says where the {0} is; give it with --{1}"


def settings_of(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The settings in the file metadata of a shard, with `source`, `generator` and `vgg`; empty if there are none."""
    try:
        settings = json.loads(metadata.get(META_SETTINGS, ""))
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}


def loss_weights_of(settings: Mapping[str, Any]) -> LossWeights | None:
    """Those of an embedding; None of an edit. Raises TypeError or ValueError if they are none."""
    weights = settings.get("loss_weights")
    return None if weights is None else LossWeights(**weights)


def variants_of(settings: Mapping[str, Any]) -> dict[str, Variant]:
    """Those of a study, by name; none of another run. Raises KeyError, TypeError or ConfigError if the settings are
    those of no study that there is."""
    if "study" not in settings:
        return {}
    return study_of(settings["study"], EmbedConfig.from_identity(settings)).by_name


def row_check(
    store: Store,
    metadata: Mapping[str, str],
    recorded: bool,
    given: tuple[str | None, str | None],
    unchecked: list[str],
) -> RowCheck | None:
    """What makes rows of the table at `store` again, on the CPU, in the precision of the run; None without its
    generator. `metadata`: of its files; `recorded`: whether it has a run.json; `given`: generator and VGG-16, None for
    those of run.json. What cannot be checked, and why, is added to `unchecked`. Raises what `generator_of` and `vgg_of`
    raise."""
    settings = settings_of(metadata)
    weights, why_none = None, _NOWHERE.format("generator", "generator")
    if recorded or given[0] is not None:
        weights, why_none = generator_of(store.url, metadata.get(META_GENERATOR, ""), given[0])
    if weights is None:
        unchecked.append(f"w_distance, and rows rendered again: {why_none}")
        return None
    precision = settings.get("precision")
    precision = precision if precision in TOLERANCES else "fp32"
    generator = build_generator(weights, "cpu", set_numerics("fp64" if precision == "fp64" else "fp32"))
    if isinstance(settings.get("source"), list):
        picture_format = settings.get("picture_format")
        picture_format = picture_format if picture_format in PICTURE_FORMATS else "png"
        return EditedPictures(store, generator, picture_format, precision)
    vgg_weights, why_none = None, _NOWHERE.format("VGG-16", "vgg")
    if recorded or given[1] is not None:
        vgg_weights, why_none = vgg_of(store.url, metadata.get(META_VGG, ""), given[1])
    if vgg_weights is None:
        unchecked.append(f"loss, loss_conv* and lpips of rows rendered again: {why_none}")
    return _embedded_rows(settings, weights, generator, vgg_weights, precision)


def _embedded_rows(
    settings: Mapping[str, Any],
    generator_weights: GeneratorWeights,
    generator: Generator,
    weights: VGGWeights | None,
    precision: str,
) -> EmbeddedRows:
    vgg = lpips = None
    if weights is not None:
        vgg = build_vgg(weights, "cpu", generator.w_avg.dtype)
        lpips = build_lpips(weights.tensors, torch.device("cpu")) if weights.has_lpips_trunk else None
    loss_weights = loss_weights_of(settings) or LossWeights()
    without_training, variants = None, variants_of(settings)
    if any(variant.untrained for variant in variants.values()):
        without_training = build_generator(untrained(generator_weights), "cpu", generator.w_avg.dtype)
    fit = str(settings.get("fit", "crop"))
    return EmbeddedRows(generator, vgg, lpips, loss_weights, fit, precision, variants, without_training)
