"""Registers the studies. A new one is a file beside those in `kinds`, and a line here.

It needs the standard library only: the command line offers the names without loading anything else. `study.py` defines
what a study is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from i2s_batch.registry import Declaration, Registry

if TYPE_CHECKING:
    from i2s_batch.config import EmbedConfig
    from i2s_batch.studies.study import Study

# Makes a study from the settings that it does not vary; ConfigError if they leave it nothing to compare.
StudyMaker = Callable[["EmbedConfig"], "Study"]


@dataclass(frozen=True)
class StudyDeclaration(Declaration[StudyMaker]):
    """Declares a study; `varies`: the option of the command line that it sets in every variant, None for none."""

    varies: str | None = None


def _declared(name: str, summary: str, varies: str | None = None) -> StudyDeclaration:
    """Return the declaration of the function `name` in the file of that name."""
    return StudyDeclaration(name, summary, f"i2s_batch.studies.kinds.{name}:{name}", varies)


STUDIES: Registry[StudyDeclaration] = Registry(
    "study",
    (
        _declared("transforms", "Must images be aligned? Shifted, scaled and rotated ones."),
        _declared("init", "Which initialisation? The mean latent or a random one.", "--init"),
        _declared("space", "Which latent space? Z, W, W+, and W+ without training.", "--space"),
        _declared("loss", "Which terms of the loss? Each alone, and all together."),
        _declared("steps", "How many steps are enough? The loss after 1, 10, 100, ..."),
        _declared("iterate", "What remains? The result embedded again, seven times."),
        _declared("recipes", "Which recipe? The paper's against faster ones, at what loss.", "--optimizer"),
        _declared("defects", "What do defects do? Holes, scribbles, blur, noise."),
    ),
)
