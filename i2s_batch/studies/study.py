"""Defines a study: variants of an image and its settings, measures of them, and the findings of their results.

A study is one file with a function that makes it from the settings which it does not vary, and one line in
`registered.STUDIES`, or `STUDIES.add(...)` from another program:

    def mirrored(embed: EmbedConfig) -> Study:
        variants = (Variant("original", "original", embed), Variant("mirrored", "mirrored", embed, alter=_mirrored))
        return Study("mirrored", "Does left matter?", variants, baseline="original", findings=_findings)

Everything else follows: plan, run, table, study.md, figures, report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from i2s_batch.config import EmbedConfig
from i2s_batch.images.alterations import Alteration
from i2s_batch.studies.results import Result, Value
from i2s_batch.studies.statistics import Ratio, paired_ratio
from i2s_batch.studies.study_output import StudyOutput
from i2s_batch.studies.study_rows import StudyRow


@dataclass(frozen=True)
class Variant:
    """Describes one way to embed an image.

    A variant may need another of the same image: `redoes` names the one whose reconstruction is its input, `continues`
    the one whose last state is its start.

    Attributes:
        name: A part of image ids, without a slash; never renamed.
        title: The name for people.
        alter: Alters the image first; None for no alteration.
        untrained: True if the generator's weights are random.
        round: Counts from 1.
    """

    name: str
    title: str
    embed: EmbedConfig
    alter: Alteration | None = None
    untrained: bool = False
    round: int = 1
    redoes: str = ""
    continues: str = ""

    @property
    def after(self) -> str:
        """Return the variant of the same image that has to be finished first, '' if none."""
        return self.redoes or self.continues


class Published(NamedTuple):
    """Holds the paper's figures: loss x 1e5, and distance to the mean latent. Only their rankings can be compared."""

    loss: float
    distance: float


@dataclass(frozen=True)
class Measure:
    """Describes a column that only one study has: its name in `Result.measured`, its title, and its unit."""

    name: str
    title: str
    unit: str = ""


POOLED = "all"  # the name of a curve over the images of all classes

# The curves that a study's figure shows: the name of each, and the results whose mean it is.
Curves: TypeAlias = "list[tuple[str, list[Result]]]"


def curve_of_each_variant(results: Results) -> Curves:
    """Return a curve for each variant."""
    return [(variant.title, results.of(variant.name)) for variant in results.study.variants]


def curve_of_each_class(results: Results) -> Curves:
    """Return the curve of the baseline for each class, and one over all images."""
    baseline, several = results.study.baseline, len(results.labels) > 1
    names = [(name or ("(none)" if several else POOLED), label) for name, label in results.groups]
    return [(name, results.of(baseline, label)) for name, label in names]


@dataclass(frozen=True)
class Study:
    """Describes a study, with the settings of every variant.

    Attributes:
        name: The name under which it is registered.
        baseline: The variant that the others are compared with.
        findings: Yields the findings, one sentence at a time; what the results do not show is left out.
        paper: The paper's figures, by variant, or by class and variant.
        measures: The columns of what `measure` returns, in order.
        measure: Measures a row on its images and latents; what could not be measured is missing.
        reads_latents: True if `measure` needs the latents of the rows.
        curves: Chooses the curves of the figure.
        curves_title: The title of the figure of curves.
        edit_pairs: Chooses the pairs of rows, by id, whose morphs show what edits make of each variant's latents.
    """

    name: str
    question: str
    variants: tuple[Variant, ...]
    baseline: str
    findings: Callable[[Results], Iterable[str]]
    paper: Mapping[str, Published] = field(default_factory=dict)
    measures: tuple[Measure, ...] = ()
    measure: Callable[[StudyRow, StudyOutput], Mapping[str, float]] | None = None
    reads_latents: bool = False
    curves: Callable[[Results], Curves] = curve_of_each_variant
    curves_title: str = "Mean loss by step"
    edit_pairs: Callable[[Results], Sequence[tuple[str, str]]] | None = None

    @property
    def by_name(self) -> dict[str, Variant]:
        """Return the variants by name."""
        return {variant.name: variant for variant in self.variants}

    def variant(self, name: str) -> Variant:
        """Return the variant of that name."""
        return self.by_name[name]

    @property
    def mean_steps(self) -> int:
        """Return how many updates a row costs on average, without those of the variant that it continues."""
        steps = [v.embed.steps - (self.variant(v.continues).embed.steps if v.continues else 0) for v in self.variants]
        return max(1, round(sum(steps) / len(steps)))


@dataclass(frozen=True)
class Results:
    """Holds all results of a study; `failed`: the number of rows that are not ok."""

    study: Study
    all: Sequence[Result]
    failed: int

    @property
    def labels(self) -> list[str]:
        """Return the classes of the images, in order."""
        return sorted({one.label for one in self.all})

    @property
    def groups(self) -> list[tuple[str, str | None]]:
        """Return the classes, each as its name and its label, and after several of them all images together."""
        by_class: list[tuple[str, str | None]] = [(label, label) for label in self.labels]
        return [*by_class, (POOLED, None)] if len(by_class) > 1 else by_class

    def of(self, variant: str, label: str | None = None) -> list[Result]:
        """Return the results of a variant, of all classes or of one, in the order of the images."""
        found = (one for one in self.all if one.variant == variant and label in (None, one.label))
        return sorted(found, key=lambda one: one.image)

    def ratio(
        self, variant: str, baseline: str, value: Value = lambda one: one.loss, label: str | None = None
    ) -> Ratio | None:
        """Return how many times that of `baseline` a value is, over the images that have both; None if none has."""
        others = {one.image: one for one in self.of(baseline, label)}
        pairs = [(one, others[one.image]) for one in self.of(variant, label) if one.image in others]
        return paired_ratio([value(one) for one, _ in pairs], [value(other) for _, other in pairs])

    def title(self, variant: str) -> str:
        """Return the variant's name for people."""
        return self.study.variant(variant).title
