"""Holds the settings of a study."""

from __future__ import annotations

from dataclasses import dataclass

from i2s_batch.config import EmbedRunConfig, Json
from i2s_batch.errors import ConfigError
from i2s_batch.studies.registered import STUDIES


@dataclass(frozen=True)
class StudyConfig(EmbedRunConfig):
    """Holds the settings of a study's run; `embed` is what its variants do not vary.

    Attributes:
        study: The name of a registered study.
        sample: The number of images in the sample, as many of each class as possible.
        classes: The column of an input list that names the class of an image; None for its first folder.
    """

    study: str = "transforms"
    sample: int = 25
    classes: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        STUDIES.get(self.study)
        if not 1 <= self.sample <= 100_000:
            raise ConfigError(f"sample is {self.sample}; it must be between 1 and 100000 images")

    def identity(self) -> dict[str, Json]:
        """Return what a resumed run must agree with, as JSON values."""
        return super().identity() | {"study": self.study, "sample": self.sample, "classes": self.classes}
