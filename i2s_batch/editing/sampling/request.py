"""Describes what is sampled, with which generator, and where it is written."""

from __future__ import annotations

from dataclasses import dataclass

from i2s_batch.config import EditConfig
from i2s_batch.editing.sampling.settings import SampleSettings


@dataclass(frozen=True)
class SampleRequest:
    """Holds what is sampled into where; paths or URLs.

    Attributes:
        config: How it is carried out; images are PNG.
        command: The words of the command line that resumes a run, without the program's name; None if there is none.
    """

    generator: str
    out: str
    settings: SampleSettings
    config: EditConfig
    command: tuple[str, ...] | None = None

    @property
    def title(self) -> str:
        """Return the heading of the contact sheet."""
        chosen = self.settings
        cutoff = "" if chosen.cutoff is None else f", cutoff {chosen.cutoff}"
        label = "" if chosen.label is None else f", label {chosen.label}"
        name = self.generator.rstrip("/").rpartition("/")[2]
        return f"{name}: seeds {chosen.seeds}, psi {chosen.psi:g}{cutoff}{label}"
