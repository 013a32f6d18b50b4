"""This module reads StyleGAN2 from the state of `Gs` in the official StyleGAN2-ADA (TensorFlow) pickle.

Its variables are those of the StyleGAN2 program, but for classes: their embedding has a bias and is normalised alone.
"""

from __future__ import annotations

from i2s_batch.models.checkpoints.stylegan2_pickle import FIXED, settings_in, table_of
from i2s_batch.models.checkpoints.tensorflow_network import (
    NetworkState,
    check_arguments,
    contents_of,
    full_resolution,
    tensorflow_format,
)
from i2s_batch.models.checkpoints.variables import assemble, refuse_unknown
from i2s_batch.models.weights import GeneratorWeights

_VERSIONS = (4, 5)
_NEEDLESS = r"lod"


def read_stylegan2_ada_tensorflow(state: NetworkState) -> GeneratorWeights:
    """Return the generator of a `Gs` state; raises CheckpointError for a variant that is not supported."""
    found, arguments = contents_of(state, _VERSIONS)
    check_arguments(arguments, FIXED, "StyleGAN2-ADA")
    settings = settings_in(found, arguments, full_resolution(found), arguments.get("architecture", "skip"))
    table = table_of(settings, has_noise=arguments.get("use_noise", True) is not False)
    refuse_unknown(found, table, _NEEDLESS)
    return assemble(settings, table, found, "official StyleGAN2-ADA pickle (TensorFlow)")


FORMAT = tensorflow_format("G_main", "G_synthesis", read_stylegan2_ada_tensorflow)
