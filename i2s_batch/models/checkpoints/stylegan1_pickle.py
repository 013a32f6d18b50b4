"""This module reads StyleGAN1 from the state of `Gs` in the official TensorFlow pickle."""

from __future__ import annotations

from i2s_batch.config import Json
from i2s_batch.errors import CheckpointError
from i2s_batch.models.checkpoints.tensorflow_network import (
    HWIO,
    NetworkState,
    check_arguments,
    classes_of,
    contents_of,
    growth_of,
    tensorflow_format,
)
from i2s_batch.models.checkpoints.variables import Stored, Table, assemble, count_of, refuse_unknown
from i2s_batch.models.network_layout import layer_resolution
from i2s_batch.models.network_settings import STYLEGAN1, StyleGAN1Settings, num_layers, settings_of
from i2s_batch.models.weights import GeneratorWeights

# Arguments of the original build functions that would make another network; the pickle holds what was given.
_FIXED: dict[str, Json] = {
    "use_styles": True,
    "use_noise": True,
    "use_pixel_norm": False,
    "use_instance_norm": True,
    "use_wscale": True,
    "use_truncation": True,
    "normalize_latents": True,
    "nonlinearity": "lrelu",
    "mapping_nonlinearity": "lrelu",
    "const_input_layer": True,
    "blur_filter": [1, 2, 1],
}
_VERSIONS = (2, 3)
# From this output resolution on, 'auto' fuses upsampling and convolution, which flips the kernel.
_FUSED_FROM = 128


def read_stylegan1(state: NetworkState) -> GeneratorWeights:
    """Return the generator of a `Gs` state; raises CheckpointError for a variant that is not supported."""
    found, arguments = contents_of(state, _VERSIONS)
    check_arguments(arguments, _FIXED, "StyleGAN1")
    if arguments.get("fused_scale", "auto") not in ("auto", True, False):
        raise CheckpointError("this StyleGAN1 was built with an unknown fused_scale")
    growth = growth_of(found)
    stored: dict[str, Json] = {
        "resolution": growth.resolution,
        "c_dim": classes_of(found),
        "mapping_layers": count_of("DenseN/weight", found),
        "mapping_lr_multiplier": arguments.get("mapping_lrmul", 0.01),
    }
    if growth.fading:
        stored["fading"] = True
    settings = StyleGAN1Settings.of(settings_of(STYLEGAN1, stored))
    table = _table(settings, arguments.get("fused_scale", "auto"), growth.lod)
    needless = rf"lod|ToRGB_lod\d+/(weight|bias)|{growth.higher(num_layers(growth.resolution))}"
    refuse_unknown(found, table, needless)
    weights = assemble(settings, table, found, "official StyleGAN1 pickle" + growth.note)
    return growth.blended(weights, "to_rgb", "fading")


def _table(settings: StyleGAN1Settings, fused_scale: Json, lod: int) -> Table:
    table = {
        "w_avg": Stored("dlatent_avg"),
        "const": Stored("4x4/Const/const", (None, 0, 1, 2)),
        "label.weight": Stored("LabelConcat/weight", (1, 0)),
        "to_rgb.weight": Stored(f"ToRGB_lod{lod}/weight", (None, None, 1, 0)),
        "to_rgb.bias": Stored(f"ToRGB_lod{lod}/bias"),
        "fading.weight": Stored(f"ToRGB_lod{lod + 1}/weight", (None, None, 1, 0)),
        "fading.bias": Stored(f"ToRGB_lod{lod + 1}/bias"),
    }
    for j in range(settings.mapping_layers):
        table[f"mapping.{j}.weight"] = Stored(f"Dense{j}/weight", (1, 0))
        table[f"mapping.{j}.bias"] = Stored(f"Dense{j}/bias")
    for i in range(num_layers(settings.resolution)):
        r = layer_resolution(i)
        scope = f"{r}x{r}/" + (("Conv0_up", "Conv1")[i % 2] if i > 1 else ("Const", "Conv")[i])
        fused = r >= _FUSED_FROM if fused_scale == "auto" else fused_scale is True
        table[f"layer.{i}.weight"] = Stored(f"{scope}/weight", HWIO, flipped=fused and i > 1 and i % 2 == 0)
        table[f"layer.{i}.noise"] = Stored(f"noise{i}", (None, None, 0, 1))
        table[f"layer.{i}.noise_strength"] = Stored(f"{scope}/Noise/weight")
        table[f"layer.{i}.bias"] = Stored(f"{scope}/bias")
        table[f"layer.{i}.style.weight"] = Stored(f"{scope}/StyleMod/weight", (1, 0))
        table[f"layer.{i}.style.bias"] = Stored(f"{scope}/StyleMod/bias")
    return table


FORMAT = tensorflow_format("G_style", "G_synthesis", read_stylegan1)
