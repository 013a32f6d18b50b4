"""Defines the state of an image in the noise stage as a value: all that it needs to resume exactly where it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

_PREFIX = "noise_"  # of the names in a checkpoint


@dataclass(frozen=True)
class NoiseState:
    """Holds the noise maps of an image after `step` updates; arrays have the generator's dtype.

    Attributes:
        step: Updates that have been made.
        effects: The maps times the strengths of their layers, as one vector [noise_layout.size]
            (`models.noise_maps`).
        m: Adam's mean of the gradients, [noise_layout.size].
        v: Adam's mean of their squares, [noise_layout.size].
    """

    step: int
    effects: np.ndarray
    m: np.ndarray
    v: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state as the arrays of a checkpoint, by name."""
        return {f"{_PREFIX}{each.name}": np.asarray(getattr(self, each.name)) for each in fields(self)}

    @classmethod
    def of_arrays(cls, file: Mapping[str, np.ndarray]) -> NoiseState | None:
        """Return the state in the arrays of a checkpoint; None if the image was not in the noise stage.

        Raises:
            KeyError: Some of the arrays are missing.
        """
        if f"{_PREFIX}step" not in file:
            return None
        step, effects, m, v = (file[f"{_PREFIX}{each.name}"] for each in fields(cls))
        return cls(int(step), effects, m, v)
