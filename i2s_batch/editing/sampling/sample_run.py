"""The run that draws samples into a latent table: its plan, its worker, its failed rows, its contact sheet."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pyarrow as pa

from i2s_batch.config import EditConfig
from i2s_batch.editing.edit_run import PLANNED_AT_ONCE, UNIT
from i2s_batch.editing.edit_worker import EditWorker
from i2s_batch.editing.missing_images import redo_missing
from i2s_batch.editing.planned_images import PLANNED, SEED, PlannedImage, from_table, to_table
from i2s_batch.editing.recipes import Recipe
from i2s_batch.editing.rows import failed_edit_row
from i2s_batch.editing.sampling.request import SampleRequest
from i2s_batch.editing.sampling.seed_latents import SeedLatents
from i2s_batch.editing.sampling.seeds import image_id_of
from i2s_batch.editing.sampling.settings import SAMPLE, SampleSettings
from i2s_batch.editing.sampling.sheet import SHEET_IMAGES, sample_sheet
from i2s_batch.editing.units import EditImage, EditUnit
from i2s_batch.errors import ObjectNotFoundError
from i2s_batch.models import GeneratorWeights
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import EDIT_INTERNAL, Plan
from i2s_batch.output.run_record import new_record
from i2s_batch.output.run_state import RunState
from i2s_batch.output.units import Task, Unit
from i2s_batch.run.assembly import Assembler
from i2s_batch.run.device import device_errors
from i2s_batch.run.execution import Run
from i2s_batch.run.pools import Fleet
from i2s_batch.run.recorded import generator_record
from i2s_batch.schema.columns import STATUS_CRASHED
from i2s_batch.schema.row import UNKNOWN_ORIGIN, Row, RowOrigin

_RECIPE = Recipe(SAMPLE, ())


@dataclass(frozen=True)
class SampleSpec:
    """Holds what a worker needs that draws samples; its fields are those of `edit_worker.DrawingSpec`."""

    out: str
    config: EditConfig
    generator: GeneratorWeights
    settings: SampleSettings
    device: str
    max_slots: int
    threads: int | None = None
    origin: RowOrigin = UNKNOWN_ORIGIN
    cores: int = 1

    def latents(self) -> SeedLatents:
        """Return what maps seeds to latents."""
        return SeedLatents(self.generator, self.settings)

    def noise(self) -> None:
        """Draw samples with the stored noise."""

    def build(self, name: str) -> EditWorker:
        """Load the generator."""
        with device_errors(None):
            return EditWorker(name, self)


class SampleRun(Run):
    """A run that draws samples. It is recorded as an edit of no table, so that whatever reads edits reads it."""

    steps = 1

    def __init__(self, request: SampleRequest, weights: GeneratorWeights, say: Callable[[str], None]) -> None:
        """Take the weights of `request.generator`.

        Raises:
            ConfigError: The generator cannot be sampled so.
        """
        self._settings = request.settings.resolved(weights)
        self._request = request
        settings = request.config.identity() | self._settings.identity()
        record = new_record((), settings, generator_record(weights), None, {"generator": request.generator})
        record = replace(record, command=request.command)
        super().__init__(request.out, request.config, record, weights, say)

    def _make_plan(self) -> Plan:
        schema = PLANNED.append(pa.field(SEED, pa.int64()))
        parts, seeds = [], iter(self._settings.seeds)
        while part := list(itertools.islice(seeds, PLANNED_AT_ONCE)):
            images = to_table([self._planned_image(seed) for seed in part])
            parts.append(images.append_column(schema.field(SEED), pa.array(part, pa.int64())))
        images = pa.concat_tables(parts).sort_by("image_id")
        return Plan(images, self._request.config.shard_size, UNIT, internal=(*EDIT_INTERNAL, SEED))

    def _planned_image(self, seed: int) -> PlannedImage:
        image_id = image_id_of(seed)
        file = RunLayout.picture(image_id, self._request.config.picture_format)
        return PlannedImage(EditImage(image_id, self._store.uri(file), file, _RECIPE, (), seed), None, None)

    def unit(self, index: int) -> EditUnit:
        """Return a unit of the plan."""
        images = tuple(from_table(self.plan().unit_rows(index)))
        return EditUnit(index=index, image_ids=tuple(image.image_id for image in images), images=images)

    def _spec(self, fleet: Fleet, spread: int) -> SampleSpec:
        what = (self._store.url, self._request.config, self.generator, self._settings)
        return SampleSpec(*what, fleet.device, spread, fleet.threads, self._record.row_origin, fleet.cores)

    def _crashed_rows(self, task: Task[Unit], error: Exception) -> list[Row]:
        images = self.unit(task.index).images
        return [failed_edit_row(image, task.attempts, STATUS_CRASHED, error) for image in images]

    def _compare(self, state: RunState, assembler: Assembler, plan: Plan) -> None:
        redo_missing(state, assembler, plan, self._store, self._report)

    def _complete(self) -> None:
        """Draw the contact sheet of images that are in the output."""
        self._store.put(RunLayout.contact_sheet, sample_sheet(self._images(), self._request.title))

    def _images(self) -> Iterator[tuple[int, bytes]]:
        """Yield some seeds and the files of their images; those that could not be drawn are left out."""
        for seed in self._settings.seeds.spread(SHEET_IMAGES):
            key = RunLayout.picture(image_id_of(seed), self._request.config.picture_format)
            try:
                yield seed, self._store.get(key)
            except ObjectNotFoundError:
                continue
