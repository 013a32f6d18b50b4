"""Studies the loss: each term alone, all layers without the pixel term, and everything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace

from i2s_batch.config import TERMS, EmbedConfig, LossWeights
from i2s_batch.studies.study import Results, Study, Variant
from i2s_batch.studies.wording import listed, loss_ratios, mean_of

_LAYERS = TERMS[1:]


def loss(embed: EmbedConfig) -> Study:
    """Return the study of the terms of the loss. A term that has no weight in `embed` has 1 where it is studied."""
    base = asdict(embed.loss_weights)

    def variant(name: str, title: str, *terms: str) -> Variant:
        weights = LossWeights(**{term: (base[term] or 1.0) if term in terms else 0.0 for term in TERMS})
        return Variant(name, title, replace(embed, loss_weights=weights))

    return Study(
        name="loss",
        question="Which terms of the loss are needed?",
        variants=(
            variant("pixel", "pixel term alone", "pixel"),
            *(variant(layer, f"{layer} alone", layer) for layer in _LAYERS),
            variant("perceptual", "all layers, no pixel term", *_LAYERS),
            variant("everything", "everything", *TERMS),
        ),
        baseline="everything",
        findings=_findings,
        curves_title="Mean loss by step: each variant's own, which cannot be compared by height",
    )


def _findings(results: Results) -> Iterable[str]:
    ratios = loss_ratios(results)
    if not ratios:
        return
    yield f"By the whole loss, against everything, {listed(results, ratios)}."
    psnr = {name: mean_of(results.of(name), lambda one: one.psnr) for name in ("pixel", "perceptual", "everything")}
    if all(value is not None for value in psnr.values()):
        shown = ", ".join(f"{results.title(name)} {value:.1f} dB" for name, value in psnr.items())
        yield f"PSNR: {shown}."
    layers = {name: ratio for name, ratio in ratios.items() if name in _LAYERS}
    if layers:
        best = min(layers, key=lambda name: layers[name].value)
        yield f"The best single layer is {best}."
