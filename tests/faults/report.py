"""What a fault test did and what it cost: the rows of docs/faults.md."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

# Of the long setting; printed at the end of the session.
LINES: list[str] = []
HEAD = "| fault | times | runs | images | lost | duplicated | recomputed steps |\n|---|---|---|---|---|---|---|"


@dataclass
class Tally:
    """Faults injected, by kind, into `runs` runs with `images` images in all. `updates`: optimiser steps that were
    made; `recomputed`: those of them that an undisturbed run would not have made."""

    faults: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    images: int = 0
    updates: int = 0
    lost: int = 0
    duplicated: int = 0
    recomputed: int = 0

    def __iadd__(self, other: Tally) -> Tally:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self

    def say(self, what: str) -> None:
        """Add a line to the session's table."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        times = sum(self.faults.values())
        LINES.append(
            f"| {what}: {kinds} | {times} | {self.runs} | {self.images} | {self.lost} | {self.duplicated} | "
            f"{self.recomputed} of {self.updates} |"
        )
