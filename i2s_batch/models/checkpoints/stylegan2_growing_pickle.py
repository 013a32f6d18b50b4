"""This module reads StyleGAN2 of the configurations B to D from the official TensorFlow pickle.

They were trained with progressive growing and have no skip connections: the architecture 'orig', with the colours of
each resolution under names of their own, of which a network at level of detail k uses the k-th.
"""

from __future__ import annotations

from dataclasses import replace

from i2s_batch.models.checkpoints.stylegan2_pickle import FIXED, settings_in, table_of
from i2s_batch.models.checkpoints.tensorflow_network import (
    NetworkState,
    check_arguments,
    contents_of,
    growth_of,
    tensorflow_format,
)
from i2s_batch.models.checkpoints.variables import assemble, refuse_unknown
from i2s_batch.models.network_settings import num_layers
from i2s_batch.models.weights import GeneratorWeights

_VERSIONS = (4,)


def read_stylegan2_growing(state: NetworkState) -> GeneratorWeights:
    """Return the generator of a `Gs` state, at the resolution that it had grown to.

    Raises CheckpointError for a variant that is not supported.
    """
    found, arguments = contents_of(state, _VERSIONS)
    check_arguments(arguments, FIXED, "StyleGAN2")
    growth = growth_of(found)
    resolution = growth.resolution
    settings = replace(settings_in(found, arguments, resolution, "orig"), fading=True if growth.fading else None)
    scopes = {resolution: f"ToRGB_lod{growth.lod}", resolution // 2: f"ToRGB_lod{growth.lod + 1}"}
    table = table_of(settings, scopes)
    higher = growth.higher(num_layers(resolution) - 1)
    refuse_unknown(found, table, rf"lod|ToRGB_lod\d+/(mod_)?(weight|bias)|{higher}")
    origin = "official StyleGAN2 pickle (TensorFlow), progressive growing" + growth.note
    weights = assemble(settings, table, found, origin)
    return growth.blended(weights, f"to_rgb.{resolution}", f"to_rgb.{resolution // 2}")


FORMAT = tensorflow_format("G_main", "G_synthesis_stylegan_revised", read_stylegan2_growing)
