"""Studies the number of steps: the loss after 1, 10, 100, ..., each continuing the one before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from i2s_batch.config import EmbedConfig
from i2s_batch.engine_registries import OPTIMIZERS
from i2s_batch.errors import ConfigError
from i2s_batch.studies.results import Result, mean_curve
from i2s_batch.studies.study import Results, Study, Variant, curve_of_each_class
from i2s_batch.studies.wording import figure, labelled

# The numbers of steps that are compared, below --steps, which is the last.
COMPARED_STEPS = (1, 10, 100, 300, 1000, 3000, 5000)
# Steps are enough when as many more, and all those that are left, lower the loss by less.
GAIN_LEFT = 0.05


def steps(embed: EmbedConfig) -> Study:
    """Return the study of the number of steps.

    Raises:
        ConfigError: There are too few steps to compare.
    """
    if embed.steps < 10:
        raise ConfigError(f"steps is {embed.steps}; the steps study needs at least 10 to compare anything")
    counts = [*(n for n in COMPARED_STEPS if n < embed.steps), embed.steps]
    # Adam's path does not depend on where it ends; L-BFGS returns to its best point at its end, so it cannot continue.
    continued = OPTIMIZERS.get(embed.optimizer).continues
    variants = tuple(
        Variant(
            f"steps-{n}",
            "1 step" if n == 1 else f"{n} steps",
            replace(embed, steps=n),
            continues=f"steps-{before}" if before and continued else "",
        )
        for before, n in zip([0, *counts], counts, strict=False)
    )
    return Study(
        name="steps",
        question="How many steps are enough?",
        variants=variants,
        baseline=variants[-1].name,
        findings=_findings,
        curves=curve_of_each_class,  # of the longest variant: the others are the beginnings of it
    )


def _findings(results: Results) -> Iterable[str]:
    last = results.study.variants[-1]
    for name, label in results.groups:
        found = results.of(last.name, label)
        if not found:
            continue
        enough, total = enough_steps(found), last.embed.steps
        if enough > total / 2:  # near its end every curve gains little
            updates, means = mean_curve(found)
            gain = 1 - means[-1] / np.interp(total / 2, updates, means)
            which = labelled(name, f"--steps {total}")
            why = f"its second half lowers the mean loss by {gain:.0%} (n = {len(found)})"
            yield f"{which} is not shown to be enough: {why}."
            continue
        hours = device_hours(found) * (1 - enough / total) / len(found) * 1000
        yield (
            f"{labelled(name, f'--steps {enough}')} is enough: the {total - enough} steps after it lower the mean "
            f"loss by less than {GAIN_LEFT:.0%} (n = {len(found)}); that saves {1 - enough / total:.0%} of {total} "
            f"steps, {figure(hours)} h of {found[0].device} for 1000 images."
        )


def enough_steps(results: Sequence[Result]) -> int:
    """Return the first step after which the mean loss falls by less than `GAIN_LEFT`, to the last."""
    updates, means = mean_curve(results)
    return int(updates[np.argmax(means * (1 - GAIN_LEFT) <= means[-1])])


def device_hours(results: Sequence[Result]) -> float:
    """Return the hours that workers had any of them in a slot, as if it had been from their first step on."""
    seconds = 0.0
    for worker in {one.worker for one in results}:
        until = -np.inf
        for start, end in sorted(one.busy for one in results if one.worker == worker):
            seconds += max(0.0, end - max(start, until))
            until = max(until, end)
    return seconds / 3600
