"""The units of a plan as they are handed out, and what is left of them in the work log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """A unit of the plan, handed to a worker: one image to embed, or some pictures to render.

    `index` is its place among the plan's units and fixes every key; `images` are its rows of the plan, with the columns
    of an input list under their own names; `internal`, of each image: what only this program needs, in a namespace of
    its own, so that no name in a list can mean anything here. `attempts` counts this start; `resume`: a checkpoint may
    exist.
    """

    index: int
    images: tuple[dict[str, Any], ...]
    attempts: int = 1
    resume: bool = False
    internal: tuple[dict[str, Any], ...] = ()

    @property
    def image_id(self) -> str:
        """Its (first) image."""
        return str(self.images[0]["image_id"])

    @property
    def uri(self) -> str:
        """Where its (first) image lies."""
        return str(self.images[0]["uri"])

    @property
    def after(self) -> int | None:
        """The unit that has to be done before this one is handed out; None for most."""
        return self.internal[0].get("_after") if self.internal else None


@dataclass(frozen=True)
class Finished:
    """A unit whose rows are durable in the work log; the status of each row."""

    index: int
    statuses: tuple[str, ...]
