"""An initialisation of another program, in one file: every image starts at the same number, the seed."""

from __future__ import annotations

import torch

from i2s_batch.engine_registries import InitialisationDeclaration
from i2s_batch.inversion.initialisation import Start
from i2s_batch.inversion.spaces import LatentSpace


def origin(space: LatentSpace, seed: int) -> Start:
    """Return what gives each image its start."""
    return lambda target: torch.full(space.shape, float(seed)).to(space.generator.w_avg)


ORIGIN = InitialisationDeclaration("origin", "The origin.", "tests.extension.origin:origin")
