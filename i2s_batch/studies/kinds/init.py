"""Studies the initialisation: the mean latent against a random one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from i2s_batch.config import EmbedConfig
from i2s_batch.studies.study import Published, Results, Study, Variant
from i2s_batch.studies.wording import direction, labelled, stated

_PAPER = {
    "face/mean": Published(0.309, 30.67),
    "face/random": Published(0.351, 35.60),
    "cat/mean": Published(0.752, 70.86),
    "cat/random": Published(0.740, 70.97),
    "dog/mean": Published(0.922, 74.78),
    "dog/random": Published(0.845, 75.14),
    "painting/mean": Published(3.530, 103.61),
    "painting/random": Published(3.451, 105.29),
    "car/mean": Published(1.390, 82.53),
    "car/random": Published(1.269, 82.60),
}


def init(embed: EmbedConfig) -> Study:
    """Return the study of the initialisation."""
    return Study(
        name="init",
        question="Which initialisation: the mean latent or a random one?",
        variants=tuple(Variant(start, f"{start} start", replace(embed, init=start)) for start in ("mean", "random")),
        baseline="mean",
        findings=_findings,
        paper=_PAPER,
    )


def _findings(results: Results) -> Iterable[str]:
    for name, label in results.groups:
        ratio = results.ratio("random", "mean", label=label)
        if ratio is None:
            continue
        better = {"higher": "use --init mean", "lower": "use --init random"}
        advice = better.get(direction(ratio), "no difference is shown")
        yield f"{stated(labelled(name, 'random start against mean start'), ratio)}: {advice}."
    distance = results.ratio("random", "mean", lambda one: one.distance)
    if distance is not None:
        yield f"{stated('The latents of a random start', distance, 'distance to w_avg')}."
