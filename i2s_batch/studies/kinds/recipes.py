"""Studies recipes: the paper's against those that need fewer evaluations, by loss, cost and distance to w_avg."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from i2s_batch.config import EmbedConfig
from i2s_batch.errors import ConfigError
from i2s_batch.presets import PRESETS
from i2s_batch.studies.kinds.steps import device_hours
from i2s_batch.studies.results import Result
from i2s_batch.studies.study import Measure, Results, Study, Variant
from i2s_batch.studies.study_output import StudyOutput
from i2s_batch.studies.study_rows import StudyRow, study_image_id
from i2s_batch.studies.wording import direction, figure, labelled, stated

PAPER = "paper"
# A recipe reaches the loss of the paper's if it is higher by no more than this.
TOLERANCE = 0.05
_FIFTH = 5
# Pairs of images whose morphs are compared: as many as one looks at.
MOST_PAIRS = 8


def recipes(embed: EmbedConfig) -> Study:
    """Return the study of recipes: the paper's, such as have a fifth of its steps, and presets with a learned file.

    Presets that need a learned file are compared if `embed` has one; then the paper's steps are its 5000.

    Raises:
        ConfigError: There are too few steps to compare.
    """
    paper = _with(embed, EmbedConfig()) if embed.uses_learned else replace(embed, optimizer="adam")
    if paper.steps < 2 * _FIFTH:
        raise ConfigError(f"steps is {paper.steps}; the recipes study needs at least {2 * _FIFTH} to compare anything")
    fewer = paper.steps // _FIFTH
    presets = PRESETS.values() if embed.uses_learned else ()
    learned = [
        Variant(each.name, f"preset {each.name}", replace(_with(paper, each.config), learned=embed.learned))
        for each in presets
        if each.config.uses_learned
    ]
    return Study(
        name="recipes",
        question="Which recipe reaches the loss of the paper's, and at what cost?",
        variants=(
            Variant(PAPER, f"paper: Adam, {paper.steps} steps", paper),
            Variant("adam-fifth", f"Adam, {fewer} steps", replace(paper, steps=fewer)),
            Variant("lbfgs-fifth", f"L-BFGS, {fewer} steps", replace(paper, optimizer="lbfgs", steps=fewer)),
            *learned,
        ),
        baseline=PAPER,
        findings=_findings,
        measures=(Measure("evaluations", "evaluations"), Measure("seconds", "in a slot", "s")),
        measure=_measure,
        edit_pairs=_edit_pairs,
    )


def _with(embed: EmbedConfig, recipe: EmbedConfig) -> EmbedConfig:
    """Return the settings with the recipe's value of each that some preset sets; without a learned file.

    The noise stage is left out: it changes no latent, and a study has no room for its maps.
    """
    names = {name for each in PRESETS.values() for name in each.overrides} - {"noise_steps"}
    return replace(embed, **{name: getattr(recipe, name) for name in names}, learned="", noise_steps=0)


def _measure(row: StudyRow, output: StudyOutput) -> Mapping[str, float]:
    """Measure the cost of a row: forward and backward passes, and the seconds in a slot of a batch."""
    known = row.known
    return {
        "evaluations": known(row.row.steps, "steps") + 1.0,
        "seconds": known(row.row.seconds, "seconds"),
    }


def _edit_pairs(results: Results) -> list[tuple[str, str]]:
    """Return pairs of neighbouring images of a class, each by every recipe that has both, one below the other."""
    names = [variant.name for variant in results.study.variants]
    found = {(one.variant, one.image) for one in results.all}
    pairs = [
        pair
        for label in results.labels
        for pair in itertools.pairwise(sorted({one.image for one in results.all if one.label == label}))
    ]
    return [
        (study_image_id(name, first), study_image_id(name, second))
        for first, second in pairs[:MOST_PAIRS]
        for name in names
        if {(name, first), (name, second)} <= found
    ]


def _findings(results: Results) -> Iterable[str]:
    for name, label in results.groups:
        yield from (labelled(name, sentence) for sentence in _answer(results, label))
    for variant in results.study.variants:
        distance = results.ratio(variant.name, PAPER, lambda one: one.distance)
        if variant.name != PAPER and distance is not None and direction(distance) == "higher":
            yield (
                f"{stated(f'The latents of {variant.title}', distance, 'distance to w_avg')}: far latents edit "
                "worse; look at some edits before you choose it."
            )


def _answer(results: Results, label: str | None) -> Iterable[str]:
    """Yield which recipe reaches the paper's loss with the fewest evaluations, and what the others reach."""
    others = [variant.name for variant in results.study.variants if variant.name != PAPER]
    ratios = {name: ratio for name in others if (ratio := results.ratio(name, PAPER, label=label)) is not None}
    if not ratios:
        return
    reached = [name for name, ratio in ratios.items() if ratio.value <= 1 + TOLERANCE]
    costs = {name: median_evaluations(results.of(name, label)) for name in (PAPER, *ratios)}
    if reached:
        best = min(reached, key=lambda name: costs[name])
        yield (
            f"{stated(results.title(best), ratios[best])}: it reaches the paper's loss within {TOLERANCE:.0%} with "
            f"{costs[best]:.0f} evaluations instead of {costs[PAPER]:.0f}, {_seconds(results, best)}."
        )
    else:
        best = min(ratios, key=lambda name: ratios[name].value)
        yield (
            f"no recipe with fewer evaluations reaches the paper's loss within {TOLERANCE:.0%}: keep the paper's. "
            f"The nearest is {stated(results.title(best), ratios[best])}, with {costs[best]:.0f} evaluations instead "
            f"of {costs[PAPER]:.0f}, {_seconds(results, best)}."
        )
    for name, ratio in ratios.items():
        if name != best:
            yield f"{stated(results.title(name), ratio)}, with {costs[name]:.0f} evaluations."


def _seconds(results: Results, variant: str) -> str:
    """Return how long a device has for an image by a variant and by the paper's recipe, over all classes.

    Images of several classes share a batch, so that the time of one class by itself is not known.
    """
    found = {name: results.of(name) for name in (variant, PAPER)}
    each, paper = (figure(3600 * device_hours(some) / len(some)) for some in found.values())
    return f"{each} s instead of {paper} s of {found[PAPER][0].device} for an image"


def median_evaluations(results: Iterable[Result]) -> float:
    """Return the median number of forward and backward passes of some images."""
    return float(np.median([one.steps + 1 for one in results]))
