"""This module reads StyleGAN2 from the state of `Gs` in the official TensorFlow pickle."""

from __future__ import annotations

from collections.abc import Mapping

from i2s_batch.config import Json
from i2s_batch.models.checkpoints.stored_arrays import StoredArray
from i2s_batch.models.checkpoints.tensorflow_network import (
    HWIO,
    NetworkState,
    check_arguments,
    classes_of,
    contents_of,
    full_resolution,
    tensorflow_format,
)
from i2s_batch.models.checkpoints.variables import Stored, Table, assemble, count_of, refuse_unknown
from i2s_batch.models.network_layout import layer_resolution
from i2s_batch.models.network_settings import STYLEGAN2, StyleGAN2Settings, num_layers, settings_of
from i2s_batch.models.weights import GeneratorWeights

# Arguments of the original build functions that would make another network; the pickle holds what was given.
FIXED: dict[str, Json] = {
    "num_channels": 3,
    "nonlinearity": "lrelu",
    "mapping_nonlinearity": "lrelu",
    "normalize_latents": True,
    "resample_kernel": [1, 3, 3, 1],
}
_VERSIONS = (4,)
_NEEDLESS = r"lod"


def read_stylegan2(state: NetworkState) -> GeneratorWeights:
    """Return the generator of a `Gs` state; raises CheckpointError for a variant that is not supported."""
    found, arguments = contents_of(state, _VERSIONS)
    check_arguments(arguments, FIXED, "StyleGAN2")
    settings = settings_in(found, arguments, full_resolution(found), arguments.get("architecture", "skip"))
    table = table_of(settings)
    refuse_unknown(found, table, _NEEDLESS)
    return assemble(settings, table, found, "official StyleGAN2 pickle (TensorFlow)")


def settings_in(
    found: Mapping[str, StoredArray], arguments: Mapping[str, Json], resolution: int, architecture: Json
) -> StyleGAN2Settings:
    """Return the settings of a generator of TensorFlow, whose arguments hold what differs from the defaults."""
    classes = classes_of(found)
    stored: dict[str, Json] = {
        "resolution": resolution,
        "c_dim": classes,
        "mapping_layers": count_of("DenseN/weight", found),
        "mapping_lr_multiplier": arguments.get("mapping_lrmul", 0.01),
        "architecture": architecture,
        "conv_clamp": arguments.get("conv_clamp"),
        "demodulation": "scaled",
        "style_offset": 1,
    }
    if "LabelConcat/weight" in found:
        stored["label_normalization"] = "joint"
    return StyleGAN2Settings.of(settings_of(STYLEGAN2, stored))


def table_of(settings: StyleGAN2Settings, colours: Mapping[int, str] | None = None, has_noise: bool = True) -> Table:
    """Return where the variables are; `colours`: the scopes of those of each resolution, if they have others."""
    table = {
        "w_avg": Stored("dlatent_avg"),
        "const": Stored("4x4/Const/const", (None, 0, 1, 2)),
        "label.weight": Stored("LabelConcat/weight" if settings.has_joint_labels else "LabelEmbed/weight", (1, 0)),
        "label.bias": Stored("LabelEmbed/bias"),
    }
    for j in range(settings.mapping_layers):
        table[f"mapping.{j}.weight"] = Stored(f"Dense{j}/weight", (1, 0))
        table[f"mapping.{j}.bias"] = Stored(f"Dense{j}/bias")
    for i in range(1, num_layers(settings.resolution)):
        r, up = layer_resolution(i), i % 2 == 0
        scope = f"{r}x{r}/" + ("Conv0_up" if up else "Conv1" if i > 1 else "Conv")
        # The original correlates the zero-inserted image with its kernel, we convolve.
        table[f"layer.{i}.weight"] = Stored(f"{scope}/weight", HWIO, flipped=up)
        table[f"layer.{i}.bias"] = Stored(f"{scope}/bias")
        table[f"layer.{i}.noise"] = Stored(f"noise{i - 1}", (None, None, 0, 1), zero_if_missing=not has_noise)
        table[f"layer.{i}.noise_strength"] = Stored(f"{scope}/noise_strength", zero_if_missing=not has_noise)
        table |= _style(f"layer.{i}", scope)
        if not up and i > 1 and settings.architecture == "resnet":
            table[f"skip.{r}.weight"] = Stored(f"{r}x{r}/Skip/weight", (None, None, 1, 0))
    for r in settings.rgb_resolutions:
        scope = f"{r}x{r}/ToRGB" if colours is None else colours[r]
        table[f"to_rgb.{r}.weight"] = Stored(f"{scope}/weight", (None, None, 1, 0))
        table[f"to_rgb.{r}.bias"] = Stored(f"{scope}/bias")
        table |= _style(f"to_rgb.{r}", scope)
    return table


def _style(name: str, scope: str) -> Table:
    return {
        f"{name}.style.weight": Stored(f"{scope}/mod_weight", (1, 0)),
        f"{name}.style.bias": Stored(f"{scope}/mod_bias"),
    }


FORMAT = tensorflow_format("G_main", "G_synthesis_stylegan2", read_stylegan2)
