"""This module reads StyleGAN2 of the configurations B to D from the official TensorFlow pickle.

They were trained with progressive growing and have no skip connections: the architecture 'orig', with the colours of
each resolution under names of their own, of which a network at level of detail k uses the k-th.
"""

from __future__ import annotations

from i2s_batch.models.checkpoints.stylegan2_pickle import FIXED, settings_in, table_of
from i2s_batch.models.checkpoints.tensorflow_network import (
    NetworkState,
    check_arguments,
    contents_of,
    full_resolution,
    growing_note,
    higher_resolutions,
    level_of_detail,
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
    full, lod = full_resolution(found), level_of_detail(found)
    resolution = full >> lod
    settings = settings_in(found, arguments, resolution, "orig")
    table = table_of(settings, colours=f"ToRGB_lod{lod}")
    higher = higher_resolutions(resolution, full, num_layers(resolution) - 1)
    refuse_unknown(found, table, rf"lod|ToRGB_lod\d+/(mod_)?(weight|bias)|{higher}")
    origin = "official StyleGAN2 pickle (TensorFlow), progressive growing" + growing_note(resolution, full)
    return assemble(settings, table, found, origin)


FORMAT = tensorflow_format("G_main", "G_synthesis_stylegan_revised", read_stylegan2_growing)
