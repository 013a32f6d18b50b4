"""Defines the run of a study: an embedding run whose images are variants of some images of a source."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from i2s_batch.config import ImageSettings
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.embedding.units import EmbedUnit
from i2s_batch.errors import ConfigError, PictureError
from i2s_batch.images.alterations import Alteration
from i2s_batch.images.read.decoding import decode_image, encode_image
from i2s_batch.images.resize import fit_image
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import Plan
from i2s_batch.plurals import counted
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.sources.source import list_images
from i2s_batch.studies.catalogue import study_of
from i2s_batch.studies.sampling import choose, class_of
from i2s_batch.studies.study import Variant
from i2s_batch.studies.study_config import StudyConfig
from i2s_batch.studies.study_plan import PlannedRow, planned_row, planned_rows, study_plan
from i2s_batch.studies.study_rows import study_image_id

_ALTERERS = 4  # images altered at once


@dataclass(frozen=True)
class StudyRunRequest(EmbedRunRequest):
    """Holds what is studied, with which networks, and where the output goes.

    Attributes:
        command: The words of the command line that resumes it, without the program's name; None if there is none.
    """

    config: StudyConfig
    command: tuple[str, ...] | None = None


class StudyRun(EmbedRun):
    """Embeds every variant of a sample of images, and keeps the reconstructions."""

    def __init__(self, request: StudyRunRequest, report: Callable[[str], None]) -> None:
        self._study_request = request
        self.study = study_of(request.config.study, request.config.embed)
        super().__init__(request, report)
        self.steps = self.study.mean_steps

    def _settings(self) -> Iterable[ImageSettings]:
        return [ImageSettings(variant.embed, variant.untrained) for variant in self.study.variants]

    def _command(self) -> tuple[str, ...] | None:
        return self._study_request.command

    def _check_choice(self, plan: Plan) -> None:
        """Let every choice pass: the plan holds variants of a sample, whose ids are not those of SOURCE."""

    def _name_new_images(self, plan: Plan) -> None:
        """Name none: the plan holds variants of a sample."""

    def _new_plan(self) -> Plan:
        config = self._study_request.config
        request = self._study_request
        images = list_images(request.source, request.out, request.source_options, self._report, self._condition).read()
        ids, uris = images["image_id"].to_pylist(), images["uri"].to_pylist()
        classes = self._classes(images)
        chosen = choose(ids, classes, config.sample, config.embed.seed)
        self._report(f"{len(chosen)} of {counted(len(ids), 'image')} in {counted(len(self.study.variants), 'variant')}")
        rows = [
            planned_row(variant, ids[index], classes[index], self._input(variant, ids[index], uris[index]), uris[index])
            for variant in self.study.variants
            for index in chosen
        ]
        return study_plan(self.study, rows, config.shard_size)

    def _classes(self, images: pa.Table) -> list[str]:
        column = self._study_request.config.classes
        if column is None:
            return [class_of(image_id) for image_id in images["image_id"].to_pylist()]
        extra = [name for name in images.column_names if name not in ("image_id", "uri")]
        if column not in extra:
            source, known = self._study_request.source, ", ".join(map(repr, extra)) or "none"
            raise ConfigError(f"{source!r} has no column {column!r} for --class-column; its extra columns: {known}")
        return ["" if value is None else str(value) for value in images[column].to_pylist()]

    def _input(self, variant: Variant, image: str, uri: str) -> str:
        """Return where a variant of an image is read, the image itself being at `uri`."""
        if variant.alter is not None:
            return self._store.uri(RunLayout.altered(study_image_id(variant.name, image)))
        if variant.redoes:
            return self._store.uri(RunLayout.picture(study_image_id(variant.redoes, image), "png"))
        return uri

    def _prepare(self) -> None:
        """Write the altered images that do not exist yet."""
        plan = self.plan()
        alterations = {variant.name: variant.alter for variant in self.study.variants if variant.alter is not None}
        existing = {info.key for info in self._store.list(RunLayout.inputs_prefix)} if alterations else set()
        rows = [
            row
            for row in planned_rows(plan.rows(range(len(plan))))
            if row.variant in alterations and RunLayout.altered(row.image_id) not in existing
        ]
        if rows:
            self._report(f"altering images ({len(rows)})")
        with ThreadPoolExecutor(_ALTERERS) as pool:
            for _ in pool.map(lambda row: self._alter(row, alterations[row.variant]), rows):
                pass

    def _alter(self, row: PlannedRow, alteration: Alteration) -> None:
        """Write the altered image of a row.

        An image that cannot be read is not altered, and one that cannot be decoded is copied: its row in the table
        gives the reason.
        """
        embed = self._study_request.config.embed
        try:
            data = read_bytes(self._present_uri(row.source_uri))
        except PictureError:
            return
        try:
            square = fit_image(decode_image(data), self.generator.settings.resolution, embed.fit)
            data = encode_image(alteration(square, row.image, embed.seed), "png")
        except PictureError:
            pass
        self._store.put(RunLayout.altered(row.image_id), data)

    def unit(self, index: int) -> EmbedUnit:
        """Return the unit of an index of the plan, which may wait for another."""
        (row,) = planned_rows(self.plan().unit_rows(index))
        variant = self.study.variant(row.variant)
        return EmbedUnit(
            index=index,
            image_ids=(row.image_id,),
            after=row.after,
            uri=self._present_uri(row.uri),
            settings=ImageSettings(variant.embed, variant.untrained),
            keeps_image=True,
            successor=row.successor,
        )
