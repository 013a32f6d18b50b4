"""What a study says, in two or three sentences with their numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from i2s_batch.config import TERMS
from i2s_batch.studies.result_table import figure
from i2s_batch.studies.results import Made, Results, mean_curve
from i2s_batch.studies.statistics import Ratio, paired_ratio

# Steps are enough when as many more, and all those that are left, lower the loss by less.
GAIN_LEFT = 0.05


def answers(results: Results) -> list[str]:
    """The sentences; what cannot be said, because too many rows failed, is left out."""
    said = [sentence for sentence in _ANSWERS[results.study.name](results) if sentence]
    if results.failed:
        said.append(f"{results.failed} rows are not ok and are left out; the table says why.")
    return said or ["Nothing can be said: no variant has a picture in common with the one it is compared with."]


def stated(name: str, ratio: Ratio, what: str = "loss") -> str:
    """'rotate 90: loss 2.1x, 95 % interval 1.8 to 2.4, n = 25'."""
    interval = ""
    if ratio.low is not None and ratio.high is not None:
        interval = f", 95 % interval {figure(ratio.low, 2)} to {figure(ratio.high, 2)}"
    return f"{name}: {what} {figure(ratio.value, 2)}x{interval}, n = {ratio.n}"


def _shown_to_be(ratio: Ratio) -> str:
    """'higher' or 'lower' if the interval says so, else ''."""
    if ratio.low is None or ratio.high is None:
        return ""
    return "higher" if ratio.low > 1 else "lower" if ratio.high < 1 else ""


def _ratios(results: Results, kind: str | None = None) -> dict[str, Ratio]:
    """The loss of every other variant against the baseline's, the largest first; of one class, if `kind` is given."""
    study = results.study
    others = [variant.name for variant in study.variants if variant.name != study.baseline]
    found = {name: results.ratio(name, study.baseline, kind=kind) for name in others}
    there = {name: ratio for name, ratio in found.items() if ratio is not None}
    return dict(sorted(there.items(), key=lambda item: -item[1].value))


def _named(kind: str, what: str) -> str:
    """With the class, where there is one."""
    return f"{kind}: {what}" if kind else what


def _listed(results: Results, ratios: dict[str, Ratio]) -> str:
    return "; ".join(stated(results.title(name), ratio) for name, ratio in ratios.items())


def _transforms(results: Results) -> Iterable[str]:
    for kind in results.kinds:
        ratios = _ratios(results, kind)
        higher = [name for name, ratio in ratios.items() if _shown_to_be(ratio) == "higher"]
        advice = "align such pictures before they are embedded" if higher else "such pictures need no alignment"
        if ratios:
            yield f"{_named(kind, 'against the original')}, {_listed(results, ratios)}."
            share = _named(kind, f"{len(higher)} of {len(ratios)}")
            yield f"{share} are shown to be worse than the original: {advice}."
    agree, pairs = _order_of_the_paper(results)
    if pairs:
        yield f"Of {pairs} pairs of transformations, {agree} are in the paper's order of losses."


def _order_of_the_paper(results: Results) -> tuple[int, int]:
    paper, ratios = results.study.paper, _ratios(results)
    pairs = list(itertools.combinations([name for name in ratios if name in paper], 2))
    return sum((ratios[a].value > ratios[b].value) == (paper[a][0] > paper[b][0]) for a, b in pairs), len(pairs)


def _init(results: Results) -> Iterable[str]:
    for kind in results.kinds:
        ratio = results.ratio("random", "mean", kind=kind)
        if ratio is None:
            continue
        better = {"higher": "use --init mean", "lower": "use --init random"}
        advice = better.get(_shown_to_be(ratio), "no difference is shown")
        yield f"{stated(_named(kind, 'random start against mean start'), ratio)}: {advice}."
    distance = results.ratio("random", "mean", lambda one: one.distance)
    if distance is not None:
        yield f"{stated('The codes of a random start', distance, 'distance to w_avg')}."


def _space(results: Results) -> Iterable[str]:
    for larger, smaller in (("w", "z"), ("w+", "w")):
        ratio = results.ratio(larger, smaller)
        if ratio is not None:
            yield f"{stated(f'{results.title(larger)} against {results.title(smaller)}', ratio)}."
    for kind in results.kinds:
        ratio = results.ratio("w+untrained", "w+", kind=kind)
        if ratio is not None:
            what = {"higher": "the training matters", "lower": "even random weights fit these pictures better"}
            verdict = what.get(_shown_to_be(ratio), "it is not shown that the training matters")
            yield f"{stated(_named(kind, 'W+ with random weights against W+'), ratio)}: {verdict}."


def _loss(results: Results) -> Iterable[str]:
    ratios = _ratios(results)
    if not ratios:
        return
    yield f"By the whole loss, against everything, {_listed(results, ratios)}."
    psnr = {name: _mean(results.of(name), lambda one: one.psnr) for name in ("pixel", "perceptual", "everything")}
    if all(value is not None for value in psnr.values()):
        shown = ", ".join(f"{results.title(name)} {value:.1f} dB" for name, value in psnr.items())
        yield f"PSNR: {shown}."
    layers = {name: ratio for name, ratio in ratios.items() if name in TERMS[1:]}
    if layers:
        best = min(layers, key=lambda name: layers[name].value)
        yield f"The single layer that does best is {best}."


def _steps(results: Results) -> Iterable[str]:
    last = results.study.variants[-1]
    for kind in results.kinds:
        made = results.of(last.name, kind)
        if not made:
            continue
        enough, total = enough_steps(made), last.embed.steps
        if enough > total / 2:  # near its end every curve gains little
            steps, means = mean_curve(made)
            gain = 1 - means[-1] / np.interp(total / 2, steps, means)
            which = _named(kind, f"--steps {total}")
            why = f"its second half lowers the mean loss by {gain:.0%} (n = {len(made)})"
            yield f"{which} is not shown to be enough: {why}."
            continue
        hours = device_hours(made) * (1 - enough / total) / len(made) * 1000
        yield (
            f"{_named(kind, f'--steps {enough}')} is enough: the {total - enough} steps after it lower the mean loss "
            f"by less than {GAIN_LEFT:.0%} (n = {len(made)}); that saves {1 - enough / total:.0%} of {total} steps, "
            f"{figure(hours)} h of {made[0].device} for 1000 pictures."
        )


def enough_steps(made: Sequence[Made]) -> int:
    """The first step after which the mean loss falls by less than `GAIN_LEFT`, to the last."""
    steps, means = mean_curve(made)
    return int(steps[np.argmax(means * (1 - GAIN_LEFT) <= means[-1])])


def device_hours(made: Sequence[Made]) -> float:
    """For how long workers had any of them in a slot, as if it had been from their first step on."""
    seconds = 0.0
    for worker in {one.worker for one in made}:
        until = -np.inf
        for start, end in sorted(one.busy for one in made if one.worker == worker):
            seconds += max(0.0, end - max(start, until))
            until = max(until, end)
    return seconds / 3600


def _iterate(results: Results) -> Iterable[str]:
    rounds = [variant.name for variant in results.study.variants]
    ratio = results.ratio(rounds[-1], rounds[0])
    if ratio is None:
        return
    yield f"{stated(f'Round {len(rounds)} against round 1', ratio)}."
    first, last = (
        _mean(results.of(name), lambda one: one.measured("psnr_to_first")) for name in (rounds[0], rounds[-1])
    )
    if first is not None and last is not None:
        after = f"{first:.1f} dB after one round to {last:.1f} after {len(rounds)}"
        yield f"To the first input, the PSNR goes from {after}."
    second, end = (_mean(results.of(name), lambda one: one.measured("drift")) for name in (rounds[1], rounds[-1]))
    if second is not None and end is not None:
        yield f"The code moves by {figure(second)} in round 2 and by {figure(end)} in round {len(rounds)}."


def _defects(results: Results) -> Iterable[str]:
    damaged = [v.name for v in results.study.variants if v.name != results.study.baseline and results.of(v.name)]
    outside = {name: _within(results.of(name), "outside", "outside_undamaged") for name in damaged}
    there = {name: ratio for name, ratio in outside.items() if ratio is not None}
    if there:
        listed = "; ".join(stated(results.title(name), ratio, "error") for name, ratio in there.items())
        yield f"Outside the damage, against the undamaged picture, {listed}."
        worse = [results.title(name) for name, ratio in there.items() if _shown_to_be(ratio) == "higher"]
        yield f"The outside is shown to suffer from {', '.join(worse) if worse else 'none of them'}."
    inside = {name: _within(results.of(name), "inside", "inside_original") for name in damaged}
    kept = [results.title(name) for name, ratio in inside.items() if ratio is not None and ratio.value < 1]
    yield (
        f"Inside, the reconstruction is nearer to the damage than to what was there before for "
        f"{', '.join(kept) if kept else 'none of them'}."
    )


def _within(made: Sequence[Made], value: str, baseline: str) -> Ratio | None:
    return paired_ratio([one.measured(value) for one in made], [one.measured(baseline) for one in made])


def _mean(made: Sequence[Made], value: Callable[[Made], float]) -> float | None:
    values = [number for one in made if np.isfinite(number := value(one))]
    return float(np.mean(values)) if values else None


_ANSWERS: dict[str, Callable[[Results], Iterable[str]]] = {
    "transforms": _transforms,
    "init": _init,
    "space": _space,
    "loss": _loss,
    "steps": _steps,
    "iterate": _iterate,
    "defects": _defects,
}
