"""Studies defects: how holes, scribbles, blur and noise affect their area and the rest of the image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from i2s_batch.config import EmbedConfig
from i2s_batch.images.alterations import alteration, defect_mask
from i2s_batch.studies.pixel_error import mean_squared_error
from i2s_batch.studies.results import Result
from i2s_batch.studies.statistics import Ratio, paired_ratio
from i2s_batch.studies.study import Measure, Results, Study, Variant
from i2s_batch.studies.study_output import StudyOutput
from i2s_batch.studies.study_rows import StudyRow
from i2s_batch.studies.wording import direction, listed

_UNDAMAGED = "undamaged"
_TITLES = {
    "hole-8th": "hole, side 1/8",
    "hole-4th": "hole, side 1/4",
    "hole-half": "hole, side 1/2",
    "scribble": "scribble, 3 lines of width 1/32",
    "blur-4th": "blur, side 1/4",
    "noise-4th": "noise, side 1/4",
}
_MEASURES = (
    Measure("inside", "MSE inside, to the input"),
    Measure("inside_original", "MSE inside, to the original"),
    Measure("outside", "MSE outside"),
    Measure("outside_undamaged", "MSE outside, undamaged"),
    Measure("changed", "MSE outside, between both"),
)


def defects(embed: EmbedConfig) -> Study:
    """Return the study of damaged images."""
    damaged = [Variant(name, title, embed, alter=alteration(name)) for name, title in _TITLES.items()]
    return Study(
        name="defects",
        question="How do defects in an image affect the rest of it?",
        variants=(Variant(_UNDAMAGED, "undamaged", embed), *damaged),
        baseline=_UNDAMAGED,
        findings=_findings,
        measures=_MEASURES,
        measure=partial(_measure, embed.seed),
    )


def _measure(seed: int, row: StudyRow, output: StudyOutput) -> Mapping[str, float]:
    """Measure the effect of a defect as mean squared errors, peak 255.

    `inside` and `outside` compare the reconstruction with its input, in the damaged area and around it;
    `inside_original` with the undamaged input. `outside_undamaged` is the error around the area of the reconstruction
    of the undamaged image; `changed` compares the two reconstructions around it.
    """
    whole = output.row(_UNDAMAGED, row.image)
    if row.variant == _UNDAMAGED or whole is None:
        return {}
    original, damaged = output.input(whole), output.input(row)
    reconstruction, undamaged = output.reconstruction(row), output.reconstruction(whole)
    if original is None or damaged is None or reconstruction is None or undamaged is None:
        return {}
    mask = defect_mask(row.variant, original.shape[0], row.image, seed)
    return {
        "inside": mean_squared_error(reconstruction, damaged, mask),
        "inside_original": mean_squared_error(reconstruction, original, mask),
        "outside": mean_squared_error(reconstruction, damaged, ~mask),
        "outside_undamaged": mean_squared_error(undamaged, original, ~mask),
        "changed": mean_squared_error(reconstruction, undamaged, ~mask),
    }


def _findings(results: Results) -> Iterable[str]:
    damaged = [v.name for v in results.study.variants if v.name != _UNDAMAGED and results.of(v.name)]
    outside = {name: _within(results.of(name), "outside", "outside_undamaged") for name in damaged}
    known = {name: ratio for name, ratio in outside.items() if ratio is not None}
    if known:
        yield f"Outside the damage, against the undamaged image, {listed(results, known, 'error')}."
        worse = [results.title(name) for name, ratio in known.items() if direction(ratio) == "higher"]
        yield f"Outside, the error is shown to be higher for {', '.join(worse) if worse else 'none of them'}."
    inside = {name: _within(results.of(name), "inside", "inside_original") for name in damaged}
    kept = [results.title(name) for name, ratio in inside.items() if ratio is not None and ratio.value < 1]
    yield (
        f"Inside, the reconstruction is nearer to the damage than to the original for "
        f"{', '.join(kept) if kept else 'none of them'}."
    )


def _within(results: Sequence[Result], value: str, baseline: str) -> Ratio | None:
    """Return how many times one measure is another, over the same results."""
    return paired_ratio([one.measure(value) for one in results], [one.measure(baseline) for one in results])
