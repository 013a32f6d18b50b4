"""Holds the settings of samples: all that determines an image beside the generator."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from i2s_batch.argument_types import check_fields
from i2s_batch.config import Json
from i2s_batch.editing.sampling.seeds import Seeds
from i2s_batch.errors import ConfigError

if TYPE_CHECKING:
    from i2s_batch.models import GeneratorWeights

SAMPLE = "sample"  # the operation, as the table and run.json name it
_STYLEGAN1 = "stylegan1"
_STYLEGAN1_CUTOFF = 8


@dataclass(frozen=True)
class SampleSettings:
    """Holds how samples are drawn.

    Attributes:
        psi: The truncation: 0 is the mean latent for every seed, 1 truncates nothing.
        cutoff: The layers below it are truncated; None for the family's own: 8 of a StyleGAN1, all layers of others.
        label: The class, from 0, of a conditional generator; None for one without classes.
    """

    seeds: Seeds
    psi: float = 0.7
    cutoff: int | None = None
    label: int | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if not math.isfinite(self.psi):
            raise ConfigError(f"psi is {self.psi}; it must be a finite number, such as 0.7")
        if self.cutoff is not None and self.cutoff < 0:
            raise ConfigError(f"cutoff is {self.cutoff}; it must be at least 0")

    def resolved(self, weights: GeneratorWeights) -> SampleSettings:
        """Return the settings with the cutoff of this generator.

        Raises:
            ConfigError: The generator lacks the label, or needs one, or has fewer layers than the cutoff.
        """
        classes, layers = weights.settings.c_dim, weights.latent_shape[0]
        if classes and self.label is None:
            last = classes - 1
            raise ConfigError(
                f"this generator is conditional ({classes} classes); give the class with --label, from 0 to {last}"
            )
        if self.label is not None and not classes:
            raise ConfigError(f"label is {self.label}, and this generator has no classes; leave --label out")
        if self.label is not None and not 0 <= self.label < classes:
            raise ConfigError(f"label is {self.label}; this generator has the classes 0 to {classes - 1}")
        usual = min(_STYLEGAN1_CUTOFF, layers) if weights.family == _STYLEGAN1 else layers
        cutoff = usual if self.cutoff is None else self.cutoff
        if cutoff > layers:
            raise ConfigError(f"cutoff is {cutoff}; this generator has {layers} layers: give from 0 to {layers}")
        return replace(self, cutoff=cutoff)

    def identity(self) -> dict[str, Json]:
        """Return what a resumed run must agree with, as JSON values of run.json."""
        values: dict[str, Json] = {"operation": SAMPLE, "seeds": str(self.seeds), "truncation_psi": self.psi}
        values |= {"truncation_cutoff": self.cutoff, "label": self.label}
        return {name: value for name, value in values.items() if value is not None}
