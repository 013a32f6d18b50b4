"""Defines the run that makes images from latent tables: its plan, its workers, its failed rows, its animations."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from i2s_batch.config import EditConfig, Json
from i2s_batch.editing import EDITS, ImageSequence, Request
from i2s_batch.editing.comparisons import write_comparisons
from i2s_batch.editing.edit_worker import EditSpec
from i2s_batch.editing.far_latents import farthest_own_distance, out_of_distribution_warning
from i2s_batch.editing.image_names import ImageNames
from i2s_batch.editing.kept_noise import check_noise
from i2s_batch.editing.missing_images import redo_missing
from i2s_batch.editing.planned_images import FILE, PLANNED, PlannedImage, from_table, to_table
from i2s_batch.editing.requests import ids_in
from i2s_batch.editing.rows import failed_edit_row
from i2s_batch.editing.selected_images import Selection, select_images
from i2s_batch.editing.sequence_animations import make_animations
from i2s_batch.editing.unaligned import write_unaligned
from i2s_batch.editing.units import EditImage, EditUnit
from i2s_batch.errors import ConfigError, RunConflictError
from i2s_batch.images.draw.animations import check_animation
from i2s_batch.models import Generator, GeneratorWeights, build_generator
from i2s_batch.output.archives.reading import RunImages
from i2s_batch.output.archives.registered import archived_keys
from i2s_batch.output.archives.writing import ArchiveWriter
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import EDIT_INTERNAL, Plan
from i2s_batch.output.run_record import RunRecord, new_record
from i2s_batch.output.run_state import RunState
from i2s_batch.output.units import Task, Unit
from i2s_batch.plurals import counted
from i2s_batch.run.assembly import Assembler
from i2s_batch.run.execution import Run
from i2s_batch.run.pools import Fleet
from i2s_batch.run.preview import RunPreview
from i2s_batch.run.recorded import generator_record
from i2s_batch.run.taking import run_at, with_recorded_sources
from i2s_batch.schema.columns import STATUS_CRASHED
from i2s_batch.schema.row import Row
from i2s_batch.sources.identity import is_same_source
from i2s_batch.storage import open_store
from i2s_batch.table.latent_reader import LatentIndex
from i2s_batch.table.other_tables import other_tables
from i2s_batch.table.snapshot import open_snapshot

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

    @cached_property
    def tables(self) -> tuple[str, ...]:
        """Return the paths or URLs of the tables, the same from anywhere; those that only TABLE:ID names come last."""
        given = tuple(open_store(table).url for table in self.latents)
        return given + other_tables(given, itertools.chain(self.ids or (), ids_in(self.request)))

    def select(self, report: Callable[[str], None]) -> Selection:
        """Return the images that are taken, see `select_images`."""
        return select_images(self.tables, len(self.latents), self.request, self.ids, self.where, report)


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

    def __init__(
        self,
        request: EditRunRequest,
        weights: GeneratorWeights,
        report: Callable[[str], None],
        selection: Selection | None = None,
    ) -> None:
        """Take the weights of `request.generator` beside the request, and what `look_first` has returned."""
        check_animation(request.config.animation)
        self._request, self._selection = request, selection
        self._tables = request.tables
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
        selection = self._selection or request.select(self._report)
        index, chosen = selection.index, selection.chosen
        check_generator(index, self.generator)
        for unfinished in index.unfinished:
            self._report(f"{unfinished}; the edit takes those, and none that come later")
        images, parents = self._planned_images(chosen, index)
        if not len(images):
            raise ConfigError(f"there is nothing to make of {counted(len(chosen), 'chosen image')}; choose more")
        warning = out_of_distribution_warning(index, parents, farthest_own_distance(self.network))
        if warning is not None:
            self._report(warning)
        return Plan(images, request.config.shard_size, UNIT, internal=EDIT_INTERNAL)

    def unit(self, index: int) -> EditUnit:
        """Return the unit of an index of the plan."""
        images = tuple(from_table(self.plan().unit_rows(index)))
        return EditUnit(index=index, image_ids=tuple(image.image_id for image in images), images=images)

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
            doubled = counted(len(ids) - len(images), "image is", "images are")
            self._report(f"{doubled} requested more than once; each is made once")
        return self._in_archives(images), parents

    def _in_archives(self, images: pa.Table) -> pa.Table:
        """Return the plan's images with the members of archives in place of files, where the run writes archives."""
        config = self._request.config
        if config.output == "files":
            return images
        key = archived_keys(images[FILE], config.output, config.shard_size)
        uri = pc.binary_join_element_wise(self._store.url, key, "/")
        for name, column in ((FILE, key), ("uri", uri)):
            images = images.set_column(images.schema.get_field_index(name), name, column)
        return images

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

    def _archives(self) -> ArchiveWriter | None:
        output = self._request.config.output
        return None if output == "files" else ArchiveWriter(self._store, output)

    def _spec(self, fleet: Fleet, spread: int) -> EditSpec:
        where = (self._store.url, self._request.config, self.generator, self._tables)
        edit, workers = EDITS.get(self._request.request.operation), (fleet.device, spread, fleet.threads)
        return EditSpec(*where, edit, *workers, self._record.row_origin, fleet.cores)

    def _crashed_rows(self, task: Task[Unit], error: Exception) -> list[Row]:
        images = self.unit(task.index).images
        return [failed_edit_row(image, task.attempts, STATUS_CRASHED, error) for image in images]

    def _compare(self, state: RunState, assembler: Assembler, plan: Plan) -> None:
        redo_missing(state, assembler, plan, self._store, self._report)

    def _complete(self) -> None:
        """Make the animations, comparisons and photographs that do not exist yet."""
        config, archives = self._request.config, self._archives()
        if archives is not None:
            archives.discard_unfinished()  # an upload of which the response was lost was begun again
        if config.side_by_side:
            write_comparisons(self._store, self._tables, config.picture_format, self._report)
        if config.unalign:
            write_unaligned(self._store, self._tables, config.picture_format, self._report)
        if config.animation is not None:
            images = RunImages(self._store, self._record.settings)
            make_animations(self._store, images, config, config.animation, self._report)


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


def look_first(request: EditRunRequest, report: Callable[[str], None]) -> Selection | None:
    """Look at OUT, the tables and the ids before any network is loaded.

    Returns:
        The images of a new run; None for one that is resumed, whose plan exists.

    Raises:
        RunConflictError: OUT holds something else, or a run with other settings, or is one of the tables.
        I2SError: A table cannot be read, or as `select_images`.
    """
    for table in request.tables:
        open_snapshot(table, quiet=True)
        if is_same_source(table, open_store(request.out).url):
            raise RunConflictError(f"{table} is both a table and OUT; give OUT a folder or prefix of its own")

    def asked(existing: RunRecord) -> RunRecord:
        settings = request.config.identity() | settings_of(request)
        record = new_record(request.tables, settings, existing.generator, None, {})
        return with_recorded_sources(existing, record)

    if request.config.noise == "keep":
        check_noise(request.tables)

    found = run_at(open_store(request.out), asked, request.config.overwrite)
    return None if found.resumed is not None else request.select(report)


def check_generator(index: LatentIndex, weights: GeneratorWeights) -> None:
    """Raise RunConflictError if the latents were made by another generator."""
    table = index.tables[0]
    if table.generator != weights.fingerprint:
        raise RunConflictError(
            f"{table.url} holds latents of the generator {table.generator[:12]}... ({table.origin}), not of "
            f"{weights.fingerprint[:12]}... ({weights.origin}); give the generator of the table"
        )
