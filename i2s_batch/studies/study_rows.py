"""Holds the rows of a study's table that are ok, with their types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from i2s_batch.config import TERMS, LossWeights
from i2s_batch.errors import StorageError
from i2s_batch.schema.row import Row
from i2s_batch.studies.results import Result

T = TypeVar("T")

# The columns that are read; `latent` is read beside them where a study measures latents.
READ_COLUMNS = (
    *("image_id", "uri", "status", "attempts", "space", "embedded_at", "variant", "picture", "class", "worker"),
    *("device", "seconds", "w_distance", "psnr", "lpips", "steps", "loss_curve", "loss_curve_steps"),
    *(f"loss_{term}" for term in TERMS),
)


def study_image_id(variant: str, image: str) -> str:
    """Return the id of a variant of an image; `image`: its id in the source."""
    return f"{variant}/{image}"


@dataclass(frozen=True)
class StudyRow:
    """Holds a row, and what the study's plan says of it: the variant, the image's id in the source, and its class."""

    row: Row
    variant: str
    image: str
    label: str

    @classmethod
    def of(cls, row: Row) -> StudyRow:
        """Return a row of a study's table, whose extra columns are those of the plan."""
        return cls(row, *(str(row.extra[name]) for name in ("variant", "picture", "class")))

    def known(self, value: T | None, column: str) -> T:
        """Return a value that every row has which is ok.

        Raises:
            StorageError: It is null.
        """
        if value is None:
            raise StorageError(f"image {self.row.image_id!r} is ok and has no {column}; run i2s-batch verify")
        return value

    def result(self, before: StudyRow | None, weights: LossWeights, measured: Mapping[str, float]) -> Result:
        """Return the row as a result.

        Args:
            before: The row that it continues.
            weights: The loss weights of the study.
            measured: The values of the study's own measures.

        Raises:
            StorageError: A column is null that no row lacks which is ok.
        """
        row, known = self.row, self.known
        end = row.embedded_at.timestamp()
        earlier = 0.0 if before is None else known(before.row.seconds, "seconds")
        steps, losses = known(row.loss_curve_steps, "loss_curve_steps"), known(row.loss_curve, "loss_curve")
        return Result(
            variant=self.variant,
            image=self.image,
            label=self.label,
            loss=sum(getattr(weights, term) * known(row.terms[term], f"loss_{term}") for term in TERMS),
            distance=known(row.metrics["w_distance"], "w_distance"),
            psnr=known(row.metrics["psnr"], "psnr"),
            lpips=row.metrics["lpips"],
            steps=known(row.steps, "steps"),
            curve=tuple(zip(steps.tolist(), losses.tolist(), strict=True)),
            worker=known(row.worker, "worker"),
            device=known(row.device, "device"),
            busy=(end - known(row.seconds, "seconds") + earlier, end),
            measured=measured,
        )
