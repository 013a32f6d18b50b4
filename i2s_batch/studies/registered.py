"""The studies that there are. A new one is a file beside those in `kinds`, and a line here.

Standard library only: the command line offers the names without loading anything else. `study.py` says what a study is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from i2s_batch.registry import Declaration, Registry

if TYPE_CHECKING:
    from i2s_batch.config import EmbedConfig
    from i2s_batch.studies.study import Study

# Makes a study from the settings that it does not vary. ConfigError for settings that leave it nothing to compare.
StudyMaker = Callable[["EmbedConfig"], "Study"]


def _kind(name: str, summary: str) -> Declaration[StudyMaker]:
    """Return the declaration of the function `name` in the file of that name."""
    return Declaration(name, summary, f"i2s_batch.studies.kinds.{name}:{name}")


STUDIES: Registry[Declaration[StudyMaker]] = Registry(
    "study",
    (
        _kind("transforms", "Must they be aligned? Moved, scaled and turned images."),
        _kind("init", "Which start? The mean latent against a random one."),
        _kind("space", "Which latent space? Z, W, W+, and W+ without training."),
        _kind("loss", "Which terms of the loss? Each alone, all together."),
        _kind("steps", "How many are enough? The loss after 1, 10, 100, ... steps."),
        _kind("iterate", "What remains? The result embedded again, seven times."),
        _kind("defects", "What does damage do? Holes, scribbles, blur, noise."),
    ),
)
