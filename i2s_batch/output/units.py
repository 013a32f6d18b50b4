"""Defines the units of a plan as they are handed out, and what remains of them in the work log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Describes what is handed out, logged and retried as one: an image to embed, or some images to render.

    Each kind of run adds what its workers need, resolved: a worker looks nothing up.

    Attributes:
        index: The unit's index in the plan, which fixes every key.
        image_ids: Its images, in the order of the plan.
        after: The unit that has to be done before this one is handed out; None for most.
    """

    index: int
    image_ids: tuple[str, ...]
    after: int | None = None


AnyUnit_co = TypeVar("AnyUnit_co", bound=Unit, covariant=True)


@dataclass(frozen=True)
class Task(Generic[AnyUnit_co]):
    """Holds a unit that is handed to a worker.

    Attributes:
        unit: The unit.
        attempts: The number of this start, from 1.
        resume: Whether a checkpoint may exist.
    """

    unit: AnyUnit_co
    attempts: int = 1
    resume: bool = False

    @property
    def index(self) -> int:
        """Return the unit's index in the plan."""
        return self.unit.index

    @property
    def image_id(self) -> str:
        """Return its (first) image."""
        return self.unit.image_ids[0]


@dataclass(frozen=True)
class Finished:
    """Reports a unit whose rows are durable in the work log, with the status of each row."""

    index: int
    statuses: tuple[str, ...]
