"""Studies transformations: shifted, scaled and rotated images against the originals (the paper's table 1)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from i2s_batch.config import EmbedConfig
from i2s_batch.images.alterations import alteration
from i2s_batch.studies.study import Published, Results, Study, Variant
from i2s_batch.studies.wording import direction, labelled, listed, loss_ratios

_TITLES = {
    "right-140": "right 140 px of 1024",
    "left-160": "left 160 px of 1024",
    "zoom-out-2x": "zoom out 2x",
    "zoom-in-2x": "zoom in 2x",
    "rotate-90": "rotate 90",
    "rotate-180": "rotate 180",
}
_PAPER = {
    "right-140": Published(0.782, 48.56),
    "left-160": Published(0.406, 44.12),
    "zoom-out-2x": Published(0.225, 38.04),
    "zoom-in-2x": Published(0.718, 40.55),
    "rotate-90": Published(0.622, 47.21),
    "rotate-180": Published(0.599, 42.93),
}


def transforms(embed: EmbedConfig) -> Study:
    """Return the study of transformed images."""
    altered = [Variant(name, title, embed, alter=alteration(name)) for name, title in _TITLES.items()]
    return Study(
        name="transforms",
        question="Must the images be aligned?",
        variants=(Variant("original", "original", embed), *altered),
        baseline="original",
        findings=_findings,
        paper=_PAPER,
    )


def _findings(results: Results) -> Iterable[str]:
    for label in results.labels:
        ratios = loss_ratios(results, label)
        higher = [name for name, ratio in ratios.items() if direction(ratio) == "higher"]
        advice = (
            "align such images before they are embedded"
            if higher
            else "it is not shown that such images need alignment"
        )
        if ratios:
            yield f"{labelled(label, 'against the original')}, {listed(results, ratios)}."
            share = labelled(label, f"{len(higher)} of {len(ratios)}")
            yield f"{share} are shown to be worse than the original: {advice}."
    agree, pairs = _order_of_the_paper(results)
    if pairs:
        yield f"Of {pairs} pairs of transformations, {agree} are in the paper's order of losses."


def _order_of_the_paper(results: Results) -> tuple[int, int]:
    ratios = loss_ratios(results)
    pairs = list(itertools.combinations([name for name in ratios if name in _PAPER], 2))
    agree = sum((ratios[a].value > ratios[b].value) == (_PAPER[a].loss > _PAPER[b].loss) for a, b in pairs)
    return agree, len(pairs)
