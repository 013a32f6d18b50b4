"""Tabulates the results of a study as the paper does: loss and distance to the mean, by variant and class."""

from __future__ import annotations

import math
from collections.abc import Sequence

from i2s_batch.reporting.parts import ResultTable
from i2s_batch.studies.results import Result, Value
from i2s_batch.studies.statistics import Ratio, spread
from i2s_batch.studies.study import POOLED, Measure, Results, Variant
from i2s_batch.studies.wording import figure


def table_of(results: Results) -> ResultTable:
    """Return a line for every variant; where there are classes, for every class and variant, and then of all images."""
    study, labels = results.study, results.labels
    by_class = len(labels) > 1
    measures = [measure for measure in study.measures if any(measure.name in one.measured for one in results.all)]
    has_lpips = any(one.lpips is not None for one in results.all)
    baseline = results.title(study.baseline) if results.all else study.baseline
    headers = ["class"] * by_class + ["variant", "n", "loss", f"loss / {baseline}", "‖w* − w_avg‖", "PSNR"]
    headers += ["LPIPS"] * has_lpips + [measure.title for measure in measures]
    headers += ["paper: loss x 1e5", "paper: ‖w* − w_avg‖"] * bool(study.paper)
    rows = []
    for label in [*labels, None] if by_class else [None]:
        for variant in study.variants:
            found = results.of(variant.name, label)
            if found:
                first = [POOLED if label is None else label or "(none)"] * by_class
                rows.append(first + _line(results, variant, label, found, has_lpips, measures))
    return ResultTable(headers, rows, 1 + by_class)


def _line(
    results: Results,
    variant: Variant,
    label: str | None,
    found: Sequence[Result],
    has_lpips: bool,
    measures: Sequence[Measure],
) -> list[str]:
    baseline = results.study.baseline
    ratio = None if variant.name == baseline else results.ratio(variant.name, baseline, label=label)
    line = [variant.title, str(len(found)), _spread(found, lambda one: one.loss), ratio_text(ratio)]
    line += [_spread(found, lambda one: one.distance), _spread(found, lambda one: one.psnr, "dB")]
    line += [_spread(found, lambda one: one.lpips or 0.0)] * has_lpips
    line += [_spread(found, _value_of(measure), measure.unit) for measure in measures]
    return line + _paper(results, variant.name, label)


def ratio_text(ratio: Ratio | None) -> str:
    """Return '2.1x (1.8 to 2.4)': the ratio and its 95 % interval."""
    if ratio is None:
        return "–"
    interval = (
        "" if ratio.low is None or ratio.high is None else f" ({figure(ratio.low, 2)} to {figure(ratio.high, 2)})"
    )
    return f"{figure(ratio.value, 2)}x{interval}"


def _value_of(measure: Measure) -> Value:
    return lambda one: one.measure(measure.name)


def _spread(results: Sequence[Result], value: Value, unit: str = "") -> str:
    found = spread([number for one in results if not math.isnan(number := value(one))])
    if found is None:
        return "–"
    deviation = found.deviation
    shown = "" if deviation is None or not math.isfinite(deviation) else f" ± {figure(deviation, 2)}"
    return f"{figure(found.mean)}{shown}{unit and ' '}{unit}"


def _paper(results: Results, variant: str, label: str | None) -> list[str]:
    paper = results.study.paper
    if not paper:
        return []
    found = paper.get(variant) or paper.get(f"{label}/{variant}")
    return ["–", "–"] if found is None else [f"{found.loss:.3f}", f"{found.distance:.2f}"]
