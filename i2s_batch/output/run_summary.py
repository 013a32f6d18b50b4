"""Defines summary.json: how far a run is, or its outcome. Other programs read it, so that no key of it is renamed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from i2s_batch.config import Json
from i2s_batch.schema.settings import GeneratorRecord, VGGRecord


@dataclass(frozen=True)
class Flight:
    """Holds an image in a slot: the updates made on it, its worker, and the seconds it has been there."""

    image_id: str
    steps: int
    worker: str
    seconds: float


@dataclass(frozen=True)
class Session:
    """Holds what the driver that writes the summary has done: images finished, updates made, and its seconds."""

    images: int
    steps: int
    seconds: float


@dataclass(frozen=True)
class RunSummary:
    """Holds what the driver of a run reports of it. The fields are the keys of summary.json, in their order.

    Attributes:
        finished: Whether the run has ended with all rows.
        updated_at: UTC, ISO 8601.
        images: Planned images; `done` have a row, of one of the `statuses`.
        retried: Failed images that are tried again.
        in_flight: Images in slots; `longest_in_flight` names some of them.
        waiting_for: Why there is no rate; None if there is one.
        steps_per_second: Updates of images a second; None, like the other two rates, while there is none.
        generator: The generator of a finished run; the summary of a run under way does not hold the networks.
        vgg: The VGG-16 of a finished run; None if it needs none.
    """

    finished: bool
    updated_at: str
    images: int
    done: int
    statuses: dict[str, int]
    retried: int
    workers_ready: int
    in_flight: int
    longest_in_flight: tuple[Flight, ...]
    waiting_for: str | None
    steps_per_second: float | None
    images_per_hour: float | None
    eta_seconds: float | None
    this_session: Session
    generator: GeneratorRecord | None = None
    vgg: VGGRecord | None = None

    def encode(self) -> bytes:
        """Return the bytes of summary.json."""
        values: dict[str, Json] = asdict(self)
        if self.generator is None:
            del values["generator"], values["vgg"]
        return json.dumps(values, indent=2).encode()


@dataclass(frozen=True)
class MergedSummary:
    """Holds the outcome of a merge. The fields are the keys of its summary.json, in their order.

    Attributes:
        merged: The outputs that were merged.
    """

    finished: bool
    updated_at: str
    images: int
    done: int
    statuses: dict[str, int]
    merged: tuple[str, ...]

    def encode(self) -> bytes:
        """Return the bytes of summary.json."""
        return json.dumps(asdict(self), indent=2).encode()
