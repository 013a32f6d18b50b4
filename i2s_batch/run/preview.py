"""Describes what a run would do, as `--dry-run` prints it."""

from __future__ import annotations

from dataclasses import dataclass, field

from i2s_batch.config import Json
from i2s_batch.output.run_record import RunRecord


@dataclass(frozen=True)
class RunPreview:
    """Holds what a run would do.

    Attributes:
        images_to_do: Images without a row that counts.
        resumed: Whether the output holds this run already.
        latents_bytes: Size of the latents of all images.
        record: What run.json is to hold.
        noise_bytes: Size of the noise maps of all images; None without a noise stage.
    """

    out: str
    images: int
    images_to_do: int
    shards: int
    resumed: bool
    latents_bytes: int
    record: RunRecord
    noise_bytes: int | None = field(default=None, kw_only=True)

    def to_json(self) -> dict[str, Json]:
        """Return what is printed, as JSON values."""
        images: dict[str, Json] = {"images": self.images, "images_to_do": self.images_to_do}
        return {"out": self.out} | images | self._size()

    def _size(self) -> dict[str, Json]:
        """Return the size of the table, and what a resumed run must agree with."""
        size: dict[str, Json] = {
            "shards": self.shards,
            "resumed": self.resumed,
            "latents_bytes": self.latents_bytes,
        }
        size |= {} if self.noise_bytes is None else {"noise_bytes": self.noise_bytes}
        return size | self.record.identity
