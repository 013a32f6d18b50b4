"""Studies the latent space: Z, W and W+, and W+ of a generator without training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from i2s_batch.config import EmbedConfig
from i2s_batch.studies.study import Results, Study, Variant
from i2s_batch.studies.wording import direction, labelled, stated


def space(embed: EmbedConfig) -> Study:
    """Return the study of the latent space."""
    trained = [
        Variant(name, title, replace(embed, space=name)) for name, title in (("z", "Z"), ("w", "W"), ("w+", "W+"))
    ]
    untrained = Variant("w+untrained", "W+, random weights", replace(embed, space="w+"), untrained=True)
    return Study(
        name="space",
        question="Which latent space, and does the training of the generator matter?",
        variants=(*trained, untrained),
        baseline="w+",
        findings=_findings,
    )


def _findings(results: Results) -> Iterable[str]:
    for larger, smaller in (("w", "z"), ("w+", "w")):
        ratio = results.ratio(larger, smaller)
        if ratio is not None:
            yield f"{stated(f'{results.title(larger)} against {results.title(smaller)}', ratio)}."
    for label in results.labels:
        ratio = results.ratio("w+untrained", "w+", label=label)
        if ratio is not None:
            what = {"higher": "the training matters", "lower": "even random weights fit these images better"}
            verdict = what.get(direction(ratio), "it is not shown that the training matters")
            yield f"{stated(labelled(label, 'W+ with random weights against W+'), ratio)}: {verdict}."
