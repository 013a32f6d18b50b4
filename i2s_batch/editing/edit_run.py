"""Defines the run that makes images from latent tables: its plan, its workers, its failed rows, its animations."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from i2s_batch.config import EditConfig, Json
from i2s_batch.editing import EDITS, ImageSequence, Request
from i2s_batch.editing.comparisons import write_comparisons
from i2s_batch.editing.edit_worker import EditSpec
from i2s_batch.editing.far_latents import farthest_own_distance, out_of_distribution_warning
from i2s_batch.editing.image_names import ImageNames
from i2s_batch.editing.planned_images import PLANNED, PlannedImage, from_table, to_table
from i2s_batch.editing.requests import ids_in
from i2s_batch.editing.rows import failed_edit_row
from i2s_batch.editing.sequence_animations import make_animations
from i2s_batch.editing.units import EditImage, EditUnit
from i2s_batch.errors import ConfigError, RunConflictError
from i2s_batch.images.draw.animations import check_animation
from i2s_batch.models import Generator, GeneratorWeights, build_generator
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import EDIT_INTERNAL, Plan
from i2s_batch.output.run_record import new_record
from i2s_batch.output.units import Task, Unit
from i2s_batch.run.execution import Run
from i2s_batch.run.pools import Fleet
from i2s_batch.run.preview import RunPreview
from i2s_batch.run.recorded import generator_record
from i2s_batch.schema.columns import STATUS_CRASHED
from i2s_batch.schema.row import Row
from i2s_batch.storage import open_store
from i2s_batch.table.latent_reader import LatentIndex
from i2s_batch.table.other_tables import other_tables
from i2s_batch.table.selection import chosen_ids

# Images that one run may make: its plan is held in memory.
MOST_IMAGES = 10_000_000
# Images handed out and logged as one.
UNIT = 32
PLANNED_AT_ONCE = 50_000
# Fields of a request whose settings have another name in run.json.
_RECORDED_AS = {"listed": "jobs"}


@dataclass(frozen=True)
class EditRunRequest:
    """Holds the request for an edit, the tables it takes, and where the output goes; all are paths or URLs.

    Attributes:
        ids: The images, in this order.
        where: An SQL condition that chooses the images. Without `ids` and `where` all that have a latent are chosen;
            like those of `where`, in natural order: frame 9 before frame 10.
        command: The words of the command line that resumes the run, without the program's name; None if there is none.
    """

    latents: tuple[str, ...]
    out: str
    generator: str
    request: Request
    config: EditConfig
    ids: tuple[str, ...] | None = None
    where: str | None = None
    command: tuple[str, ...] | None = None


@dataclass(frozen=True)
class EditPreview(RunPreview):
    """Holds what an edit run would do. `resolution`: of its images, in pixels."""

    resolution: int

    def to_json(self) -> dict[str, Json]:
        """Return what is printed, as JSON values."""
        images: dict[str, Json] = {
            "pictures": self.images,
            "pictures_to_do": self.images_to_do,
            "picture": f"{self.resolution} x {self.resolution}",
            "pictures_bytes": self.images * self.resolution**2 * 3,
        }
        return images | {"out": self.out} | self._size()


class EditRun(Run):
    """Edits latents and renders them."""

    steps = 1

    def __init__(self, request: EditRunRequest, weights: GeneratorWeights, report: Callable[[str], None]) -> None:
        """Take the weights of `request.generator` beside the request."""
        check_animation(request.config.animation)
        self._request = request
        given = tuple(open_store(table).url for table in request.latents)
        self._tables = given + other_tables(given, itertools.chain(request.ids or (), ids_in(request.request)))
        settings = request.config.identity() | settings_of(request)
        record = new_record(self._tables, settings, generator_record(weights), None, {"generator": request.generator})
        record = replace(record, command=request.command)
        super().__init__(request.out, request.config, record, weights, report)

    @cached_property
    def network(self) -> Generator:
        """Return the generator on the driver, built when something is first drawn or mapped here."""
        return build_generator(self.generator)

    def describe(self) -> RunPreview:
        """Return what the run would do, for `--dry-run`."""
        return EditPreview(**vars(super().describe()), resolution=self.generator.settings.resolution)

    def _make_plan(self) -> Plan:
        request = self._request
        index = LatentIndex(self._tables, len(self._request.latents))
        check_generator(index, self.generator)
        chosen: list[str] = []
        if request.request.listed is None:
            chosen = self._chosen(index)
        images, parents = self._planned_images(chosen, index)
        if not len(images):
            raise ConfigError(f"there is nothing to make of {len(chosen)} chosen images; choose more")
        warning = out_of_distribution_warning(index, parents, farthest_own_distance(self.network))
        if warning is not None:
            self._report(warning)
        return Plan(images, request.config.shard_size, UNIT, internal=EDIT_INTERNAL)

    def unit(self, index: int) -> EditUnit:
        """Return the unit of an index of the plan."""
        images = tuple(from_table(self.plan().unit_rows(index)))
        return EditUnit(index=index, image_ids=tuple(image.image_id for image in images), images=images)

    def _chosen(self, index: LatentIndex) -> list[str]:
        request = self._request
        if request.ids is not None:
            return list(request.ids)
        if request.where is not None:
            chosen = [image_id for table in request.latents for image_id in chosen_ids(table, request.where)]
            return sorted(chosen, key=_in_natural_order)
        chosen, without = index.in_tables(len(request.latents))
        if without:
            self._report(f"{without} images without a latent are left out")
        return sorted(chosen, key=_in_natural_order)

    def _sequences(self, chosen: Sequence[str]) -> Iterator[ImageSequence]:
        """Yield what is to be made; ConfigError if that is too much."""
        count = 0
        for sequence in self._request.request.sequences(chosen, self.generator.latent_shape[0]):
            count += len(sequence.recipes)
            if count > MOST_IMAGES:
                raise ConfigError(f"more than {MOST_IMAGES} images would be made; choose fewer images")
            yield sequence

    def _planned_images(self, chosen: Sequence[str], index: LatentIndex) -> tuple[pa.Table, set[str]]:
        """Return the plan's images, sorted by id, and all their parents."""
        parts, parents = [], set()
        names = ImageNames(lambda: self._sequences(chosen))
        planned = self._images_to_make(self._sequences(chosen), names, index)
        while part := list(itertools.islice(planned, PLANNED_AT_ONCE)):
            parents |= {parent for each in part for parent in each.image.recipe.parents}
            parts.append(to_table(part))
        images = pa.concat_tables(parts).sort_by("image_id") if parts else PLANNED.empty_table()
        ids = images["image_id"].combine_chunks()
        if len(ids.unique()) < len(ids):  # the same edit twice makes one image
            first = np.append(True, np.asarray(ids[1:]) != np.asarray(ids[:-1]))
            images = images.filter(pa.array(first))
            self._report(f"{len(ids) - len(images)} images are requested more than once; each is made once")
        return images, parents

    def _images_to_make(
        self, sequences: Iterable[ImageSequence], names: ImageNames, index: LatentIndex
    ) -> Iterator[PlannedImage]:
        for sequence in sequences:
            single, name = len(sequence.recipes) == 1, names.of(sequence)
            for image_id, number, recipe in sequence.images():
                frame = None if single else number
                file = RunLayout.edited(name, frame, self._request.config.picture_format)
                locations = tuple(index.location(parent) for parent in recipe.parents)
                image = EditImage(image_id, self._store.uri(file), file, recipe, locations)
                yield PlannedImage(image, None if single else sequence.name, frame)

    def _spec(self, fleet: Fleet, spread: int) -> EditSpec:
        where = (self._store.url, self._request.config, self.generator, self._tables)
        edit, workers = EDITS.get(self._request.request.operation), (fleet.device, spread, fleet.threads)
        return EditSpec(*where, edit, *workers, self._record.row_origin)

    def _crashed_rows(self, task: Task[Unit], error: Exception) -> list[Row]:
        images = self.unit(task.index).images
        return [failed_edit_row(image, task.attempts, STATUS_CRASHED, error) for image in images]

    def _complete(self) -> None:
        """Make the animations and comparisons that do not exist yet."""
        config = self._request.config
        if config.side_by_side:
            write_comparisons(self._store, self._tables, config.picture_format, self._report)
        if config.animation is not None:
            make_animations(self._store, config, config.animation, self._report)


def settings_of(request: EditRunRequest) -> dict[str, Json]:
    """Return what a resumed run must agree with, as JSON values of run.json; long lists by their sha256."""
    settings = asdict(request.request) | {"ids": request.ids, "where": request.where}
    settings = {_RECORDED_AS.get(name, name): value for name, value in settings.items()}
    for name in ("jobs", "ids"):
        if settings.get(name) is not None:
            settings[name] = hashlib.sha256(json.dumps(settings[name]).encode()).hexdigest()
    # tuples become lists, as they are read back
    plain: dict[str, Json] = json.loads(json.dumps(settings))
    return {name: value for name, value in plain.items() if value is not None}


def _in_natural_order(image_id: str) -> list[tuple[int, str]]:
    """Return a key for sorting in natural order: numbers within a name by their value."""
    parts = re.split(r"(\d+)", image_id)
    return [(int(part), "") if index % 2 else (-1, part) for index, part in enumerate(parts)]


def check_generator(index: LatentIndex, weights: GeneratorWeights) -> None:
    """Raise RunConflictError if the latents were made by another generator."""
    table = index.tables[0]
    if table.generator != weights.fingerprint:
        raise RunConflictError(
            f"{table.url} holds latents of the generator {table.generator[:12]}... ({table.origin}), not of "
            f"{weights.fingerprint[:12]}... ({weights.origin}); give the generator of the table"
        )
