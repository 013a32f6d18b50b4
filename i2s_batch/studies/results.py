"""The rows of a study as its findings need them, and how to ask for some of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from i2s_batch.studies.catalogue import Study
from i2s_batch.studies.statistics import Ratio, paired_ratio

Value = Callable[["Made"], float]


@dataclass(frozen=True)
class Made:
    """One embedded variant of a picture.

    `kind`: the picture's class. `loss`: the sum of the terms with the weights that the study was given, whatever its
    variant was optimised for. `curve`: what the variant's own loss was after so many steps. `busy`: when a worker had
    it in a slot, in seconds of some clock, without what an earlier variant took that it continues. `more`: measured on
    pictures and codes, by name.
    """

    variant: str
    picture: str
    kind: str
    loss: float
    distance: float
    psnr: float
    lpips: float | None
    steps: int
    curve: tuple[tuple[int, float], ...]
    worker: str
    device: str
    busy: tuple[float, float]
    more: dict[str, float] = field(default_factory=dict)

    def measured(self, name: str) -> float:
        """One of `more`; NaN if it could not be measured."""
        return self.more.get(name, math.nan)


def mean_curve(made: Sequence[Made]) -> tuple[np.ndarray, np.ndarray]:
    """Steps [K] and the mean of the losses after each [K]; between the points of a curve it is straight."""
    steps = np.unique([step for one in made for step, _ in one.curve])
    curves = [np.array(one.curve, float) for one in made]
    return steps, np.mean([np.interp(steps, curve[:, 0], curve[:, 1]) for curve in curves], axis=0)


@dataclass(frozen=True)
class Results:
    """All that a study made. `failed`: rows that are not ok."""

    study: Study
    made: Sequence[Made]
    failed: int

    @property
    def kinds(self) -> list[str]:
        """The classes of the pictures, in order."""
        return sorted({one.kind for one in self.made})

    def of(self, variant: str, kind: str | None = None) -> list[Made]:
        """What was made of a variant, of all classes or of one, in the order of the pictures."""
        found = (one for one in self.made if one.variant == variant and kind in (None, one.kind))
        return sorted(found, key=lambda one: one.picture)

    def ratio(
        self, variant: str, baseline: str, value: Value = lambda one: one.loss, kind: str | None = None
    ) -> Ratio | None:
        """How many times that of `baseline` a value is, over the pictures that have both."""
        others = {one.picture: one for one in self.of(baseline, kind)}
        pairs = [(one, others[one.picture]) for one in self.of(variant, kind) if one.picture in others]
        return paired_ratio([value(one) for one, _ in pairs], [value(other) for _, other in pairs])

    def title(self, variant: str) -> str:
        """The variant's name for people."""
        return self.study.variant(variant).title
