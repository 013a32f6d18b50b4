"""Defines the reports of workers to the driver."""

from __future__ import annotations

from dataclasses import dataclass, field

from i2s_batch.output.units import Finished


@dataclass(frozen=True)
class Report:
    """Holds what a worker reports after a stretch of work.

    Attributes:
        finished: Units finished since the last report.
        in_flight: Updates made on each image in a slot.
        waiting: Images that it holds but has not started.
        steps: Updates made since the last report, over all images.
        warnings: Lines for the user.
    """

    finished: tuple[Finished, ...] = ()
    in_flight: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    steps: int = 0
    warnings: tuple[str, ...] = ()
