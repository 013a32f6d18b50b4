"""Estimates what learning costs, in evaluations: forward and backward passes of generator and VGG-16."""

from __future__ import annotations

import math

from i2s_batch.encoders.curvature import PROBES
from i2s_batch.encoders.learning import LearnConfig

# A backward pass takes about twice the multiplications of a forward pass.
_FORWARD, _BACKWARD = 1 / 3, 2 / 3


def evaluations_to_learn(config: LearnConfig, w_dim: int, known: int = 0) -> int:
    """Return about how many evaluations it takes to learn a generator, with so many known latents beside."""
    latents = config.latents_for(w_dim) + known
    return math.ceil(config.samples * _FORWARD + latents * (_FORWARD + PROBES * _BACKWARD))
