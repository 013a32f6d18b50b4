"""The table of a study, in the shape of the paper's: loss and distance to the mean, by variant and class."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from i2s_batch.report.parts import ResultTable
from i2s_batch.studies.results import Made, Results, Value
from i2s_batch.studies.statistics import Ratio, spread

# What some studies measure beside, by the name in `Made.more`.
_MORE = {
    "drift": "drift of w*",
    "psnr_to_first": "PSNR to the first input",
    "inside": "MSE inside, to the input",
    "inside_original": "MSE inside, to the original",
    "outside": "MSE outside",
    "outside_undamaged": "MSE outside, undamaged",
    "changed": "MSE outside, between both",
}


def table_of(results: Results) -> ResultTable:
    """One line for every variant, or for every class and variant."""
    study, kinds = results.study, results.kinds
    by_class = len(kinds) > 1
    more = [name for name in _MORE if any(name in one.more for one in results.made)]
    has_lpips = any(one.lpips is not None for one in results.made)
    baseline = results.title(study.baseline) if results.made else study.baseline
    headers = ["class"] * by_class + ["variant", "n", "loss", f"loss / {baseline}", "‖w* − w_avg‖", "PSNR"]
    headers += ["LPIPS"] * has_lpips + [_MORE[name] for name in more]
    headers += ["paper: loss x 1e5", "paper: ‖w* − w_avg‖"] * bool(study.paper)
    rows = []
    for kind in kinds if by_class else [None]:
        for variant in study.variants:
            made = results.of(variant.name, kind)
            if not made:
                continue
            row = [kind or "(none)"] * by_class + [variant.title, str(len(made))]
            ratio = None if variant.name == study.baseline else results.ratio(variant.name, study.baseline, kind=kind)
            row += [_spread(made, _loss), ratio_text(ratio)]
            row += [_spread(made, lambda one: one.distance), _spread(made, lambda one: one.psnr, " dB")]
            row += [_spread(made, lambda one: one.lpips or 0.0)] * has_lpips
            row += [_spread(made, _more(name), " dB" * name.startswith("psnr")) for name in more]
            rows.append(row + _paper(results, variant.name, kind))
    return ResultTable(headers, rows, 1 + by_class)


def ratio_text(ratio: Ratio | None) -> str:
    """'2.1x (1.8 to 2.4)': the ratio and its 95 % interval."""
    if ratio is None:
        return "–"
    interval = (
        "" if ratio.low is None or ratio.high is None else f" ({figure(ratio.low, 2)} to {figure(ratio.high, 2)})"
    )
    return f"{figure(ratio.value, 2)}x{interval}"


def figure(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, without an exponent where it can be avoided."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "–"
    if value == 0 or not 1e-3 <= abs(value) < 1e6:
        return f"{value:.{digits}g}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def _loss(one: Made) -> float:
    return one.loss


def _more(name: str) -> Value:
    return lambda one: one.measured(name)


def _spread(made: Sequence[Made], value: Callable[[Made], float], unit: str = "") -> str:
    found = spread([number for one in made if not math.isnan(number := value(one))])
    if found is None:
        return "–"
    deviation = found.deviation
    shown = "" if deviation is None or not math.isfinite(deviation) else f" ± {figure(deviation, 2)}"
    return f"{figure(found.mean)}{shown}{unit}"


def _paper(results: Results, variant: str, kind: str | None) -> list[str]:
    paper = results.study.paper
    if not paper:
        return []
    found = paper.get(variant) or paper.get(f"{kind}/{variant}")
    return ["–", "–"] if found is None else [f"{found[0]:.3f}", f"{found[1]:.2f}"]
