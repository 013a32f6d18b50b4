"""Defines the run that embeds images: its record, its plan, its workers, its failed rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

import msgspec
import pyarrow as pa

from i2s_batch.config import AUTO_PRECISION, PRECISIONS, EmbedRunConfig, ImageSettings, Json, RunConfig
from i2s_batch.embedding.alignment_warning import alignment_warning, sampled
from i2s_batch.embedding.embed_worker import EmbedSpec
from i2s_batch.embedding.moved import moved_record, prove_moved
from i2s_batch.embedding.rows import LoadedImage, failed_row
from i2s_batch.embedding.targets import ALIGNED_FROM, LOOKED_AT, check_landmarks, columns_in, given_columns
from i2s_batch.embedding.units import EmbedUnit, SameBytes
from i2s_batch.embedding.update import as_planned, compare, updated_plan
from i2s_batch.engine_registries import OPTIMIZERS
from i2s_batch.errors import ConfigError, SourceError, StorageError
from i2s_batch.images.align.detector import model_file
from i2s_batch.inversion.batch_size import cpu_batch_size
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.learned_lbfgs import POINTS
from i2s_batch.inversion.noise_stage import without_noise
from i2s_batch.inversion.precision import device_precision
from i2s_batch.models import GeneratorWeights
from i2s_batch.models.loading import generator_weights, vgg_weights
from i2s_batch.models.noise_maps import NoiseLayout
from i2s_batch.models.work import vgg_work
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.moved_source import moved_uri
from i2s_batch.output.noise_shards import REPAIR, NoiseShards
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_record import RunRecord, new_record
from i2s_batch.output.run_state import RunState, undone_checkpoints
from i2s_batch.output.units import Task, Unit
from i2s_batch.parquet.row_groups import RowGroups
from i2s_batch.parquet.sorted_rows import SpilledRows
from i2s_batch.plurals import counted
from i2s_batch.run.assembly import Assembler
from i2s_batch.run.device import is_of
from i2s_batch.run.estimates import Work, estimates
from i2s_batch.run.execution import Run
from i2s_batch.run.pools import Fleet
from i2s_batch.run.preview import RunPreview
from i2s_batch.run.recorded import generator_record, vgg_record
from i2s_batch.run.speed_cache import load_measured
from i2s_batch.run.taking import run_at
from i2s_batch.run.terminal import show_stage
from i2s_batch.schema.columns import STATUS_CRASHED
from i2s_batch.schema.row import Row
from i2s_batch.sources.chosen import Condition, check_not_narrower
from i2s_batch.sources.duplicates import DUPLICATES_INTERNAL, SAME_AS, SHA256, with_duplicates
from i2s_batch.sources.identity import is_same_source
from i2s_batch.sources.options import AS_USUAL, SourceOptions
from i2s_batch.sources.source import list_images
from i2s_batch.storage import open_store
from i2s_batch.table.list_condition import list_condition

# Peak memory of a step in float32, networks of official widths: 7.8 KiB a pixel of each image at 256 x 256.
IMAGE_BYTES_PER_PIXEL = 8 << 10


@dataclass(frozen=True)
class EmbedRunRequest:
    """Holds what is embedded, with which networks, and the path or URL of the output.

    Attributes:
        source: A folder, a pattern, a prefix or a list.
        out: The output.
        generator: The path or URL of the generator.
        vgg: The VGG-16, likewise, or a name.
        config: The settings; `config.embed.learned` is the fingerprint of `learned`.
        source_options: How the source is read.
        learned: The learned file; None where the settings need none.
        learned_from: The path or URL of the learned file.
    """

    source: str
    out: str
    generator: str
    vgg: str
    config: EmbedRunConfig
    source_options: SourceOptions = field(default=AS_USUAL, kw_only=True)
    learned: Learned | None = field(default=None, kw_only=True)
    learned_from: str = field(default="", kw_only=True)


class EmbedRun(Run):
    """Embeds the images of a source."""

    def __init__(self, request: EmbedRunRequest, report: Callable[[str], None]) -> None:
        self._request = request
        self._config, self._report, self._store = request.config, report, open_store(request.out)
        self._moves: tuple[tuple[str, str], ...] = ()
        self._moved: RunRecord | None = None  # the record of a run whose source has proved to have moved
        self._recorded_precision, self._chose_without_gpu = "", False
        self._early_plan = self._look_first()
        request = self._request = self._resolved(request)
        self._config = request.config
        show_stage(report, "reading the networks")
        self._vgg = vgg_weights(request.vgg)
        embed = request.config.embed
        self.steps = embed.steps + embed.noise_steps
        generator = generator_weights(request.generator)
        self._check_learned(generator)
        self._noise = NoiseLayout.of(generator)
        if embed.noise_steps and not self._noise.sides:
            raise without_noise(embed.noise_steps, generator.family)
        networks = {"generator": request.generator, "vgg": request.vgg}
        if request.learned is not None:
            networks["learned"] = request.learned_from
        if request.config.face_model is not None:
            networks["face_model"] = request.config.face_model
        identity = _identity(request.config)
        record = new_record(request.source, identity, generator_record(generator), vgg_record(self._vgg), networks)
        command = self._command()
        in_process = request.config.in_process is True and command is msgspec.UNSET  # else the command has the option
        fraction = request.config.max_failed_fraction
        others = None if fraction == RunConfig().max_failed_fraction else fraction
        record = replace(record, in_process=in_process, command=command, max_failed_fraction=others)
        record = replace(record, preset=request.config.preset or None)
        super().__init__(request.out, request.config, record, generator, report)

    @property
    def config(self) -> EmbedRunConfig:
        """Return the settings of the run, with the precision that `auto` has come to."""
        return self._request.config

    def _resolved(self, request: EmbedRunRequest) -> EmbedRunRequest:
        """Return the request with its precision chosen: that of the run in OUT, or for a new run by the device."""
        config = request.config
        if config.precision == AUTO_PRECISION and self._recorded_precision:
            return replace(request, config=replace(config, precision=self._recorded_precision))
        choice = device_precision(config.precision, config.device)
        self._chose_without_gpu = config.precision == AUTO_PRECISION and not choice.reason
        if choice.reason:
            self._report(choice.reason)
        return replace(request, config=replace(config, precision=choice.precision))

    def _settings(self) -> Iterable[ImageSettings]:
        """Return all settings that images of the run are embedded with."""
        return [ImageSettings(self._request.config.embed)]

    def _check_learned(self, generator: GeneratorWeights) -> None:
        """Raise ConfigError unless the learned file is there where it is needed, and belongs to the networks."""
        for settings in self._settings():
            embed, learned = settings.embed, self._request.learned
            if learned is None:
                if embed.uses_learned or embed.learned:
                    raise ConfigError(f"{embed.uses_learned or 'learned'} needs a learned file; give --learned FILE")
                continue
            if settings.untrained:
                what = "one variant of this study embeds with a generator without training"
                raise ConfigError(f"{what}, to which no learned file belongs; leave out {embed.uses_learned}")
            learned.check(generator.fingerprint, self._vgg.fingerprint, embed.loss_weights)

    def describe(self) -> RunPreview:
        """Return what the run would do, with the size of the noise maps if it makes any."""
        preview = super().describe()
        has_noise = self._request.config.embed.noise_steps > 0
        return replace(preview, noise_bytes=preview.images * self._noise.bytes) if has_noise else preview

    def _noise_shards(self, confirm: Callable[[], None]) -> NoiseShards | None:
        config = self._request.config
        if not config.embed.noise_steps:
            return None
        metadata = self._record.table_metadata()
        return NoiseShards(self._store, self._noise.sides, config.shard_size, metadata, confirm)

    def _command(self) -> tuple[str, ...] | msgspec.UnsetType | None:
        """Return the words of the command that resumes the run, where the record's settings do not say it."""
        return msgspec.UNSET

    def _look_first(self) -> Plan | None:
        """Look at OUT and SOURCE before networks are fetched: return the plan of a new run, None for one that exists.

        Raises:
            RunConflictError: OUT holds something else, or a run with other settings.
        """
        show_stage(self._report, "looking at SOURCE and OUT")
        request = self._request

        def asked(existing: RunRecord) -> RunRecord:
            config, recorded = request.config, existing.settings.precision
            if config.precision == AUTO_PRECISION:
                config = replace(config, precision=recorded if recorded in PRECISIONS else RunConfig.precision)
            record = new_record(request.source, _identity(config), existing.generator, existing.vgg, {})
            return self._same_source(existing, record)

        found = run_at(self._store, asked, self._config.overwrite)
        if found.resumed is None:
            return self._new_plan()
        self._recorded_precision = found.resumed.settings.precision
        return None

    def _make_plan(self) -> Plan:
        return self._early_plan or self._new_plan()

    def _new_plan(self) -> Plan:
        """Return the plan of a new run, from SOURCE as it is now."""
        images, internal = self._list(), tuple[str, ...]()
        if self._request.config.dedupe:
            show_stage(self._report, "reading every image for duplicates")
            images, internal = with_duplicates(images, self._report), DUPLICATES_INTERNAL
        plan = Plan(images, self._request.config.shard_size, internal=internal)
        first = plan.rows(range(min(LOOKED_AT, len(plan))))["uri"].to_pylist()
        check_landmarks(self._request.config, bool(self._given_in(plan)), first)
        if self._request.config.align is None and self._request.config.box is None:
            self._warn_of_alignment(plan)
        return plan

    def _warn_of_alignment(self, plan: Plan) -> None:
        show_stage(self._report, "looking at faces in a sample of SOURCE")
        uris = [plan.rows(range(index, index + 1))["uri"][0].as_py() for index in sampled(len(plan))]
        warning = alignment_warning(uris, self._request.config.embed.fit)
        if warning is not None:
            self._report(warning)

    def _given_in(self, plan: Plan) -> dict[str, str]:
        """Return the columns of a plan that say what of an image is embedded, by the names that the user knows.

        Raises:
            ConfigError: A column is missing, or the list is one of images that are aligned already.
        """
        config, names = self._request.config, plan.table_columns
        if config.align is not None and ALIGNED_FROM in names:
            raise ConfigError(
                f"{self._request.source!r} names images that i2s-batch align has aligned; leave --align out"
            )
        found = columns_in(names, given_columns(config))
        missing = [name for name in config.box_columns if name not in found]
        if missing:
            raise ConfigError(f"{self._request.source!r} has no column {missing[0]!r}, which --box names")
        return found

    def _same_source(self, existing: RunRecord, asked: RunRecord) -> RunRecord:
        now, new = existing.source_now or existing.source, asked.source
        if not isinstance(now, str) or not isinstance(new, str):
            return asked
        same = self._request.config.source_moved or is_same_source(now, new)
        return replace(asked, source=existing.source, source_now=existing.source_now) if same else asked

    def _existing_record(self) -> RunRecord | None:
        record = super()._existing_record()
        if record is None:
            return None
        now, new = record.source_now or str(record.source), str(self._record.source)
        if self._moved is None and not is_same_source(now, new):
            moved = moved_record(record, new)
            prove_moved(self._store, self._loaded_plan(), moved, self._report)
            self._moved = moved
        self._moves = (self._moved or record).moved
        return record

    def begin(self, confirm: Callable[[], None] = lambda: None) -> RunRecord:
        """Begin as any run; record where the source is now if it has moved."""
        record = super().begin(confirm)
        if self._moved is not None and record.moved != self._moved.moved:
            confirm()
            record = replace(record, source_now=self._moved.source_now, moved=self._moved.moved)
            self._store.put(RunLayout.run_json, record.with_move(self._store.get(RunLayout.run_json)))
        return record

    def unit(self, index: int) -> EmbedUnit:
        """Return the unit of an index of the plan."""
        row = self.plan().unit_rows(index)
        image_id, uri = row["image_id"][0].as_py(), row["uri"][0].as_py()
        settings = ImageSettings(self._request.config.embed)
        given = {name: row[column][0].as_py() for name, column in self._given_in(self.plan()).items()}
        where = self._present_uri(uri)
        same = self._same_bytes(row)
        after = None if same is None else same.index
        return EmbedUnit(
            index=index, after=after, image_ids=(image_id,), uri=where, settings=settings, same_as=same, given=given
        )

    def _same_bytes(self, row: pa.Table) -> SameBytes | None:
        """Return the image whose result the image of a row of the plan gets; None if it is embedded itself."""
        first = row[SAME_AS][0].as_py() if SAME_AS in self.plan().internal else None
        if first is None:
            return None
        plan = self.plan()
        shard = plan.shard_of(first)
        position = first - plan.shard_range(shard).start
        return SameBytes(first, plan.image_id(first), shard, position, row[SHA256][0].as_py())

    def _present_uri(self, uri: str) -> str:
        """Return where the image is now that was planned at `uri`."""
        return moved_uri(uri, self._moves)

    def _list(self) -> SpilledRows:
        request = self._request
        return list_images(request.source, request.out, request.source_options, self._report, self._condition)

    @cached_property
    def _condition(self) -> Condition | None:
        """Return the test of the option --where."""
        where = self._request.source_options.where
        return None if where is None else list_condition(where)

    @cached_property
    def _listing(self) -> SpilledRows:
        """Return the source as it is now, for an incremental update."""
        return self._list()

    def _updated(self, plan: Plan) -> Plan:
        self._check_choice(plan)
        if not self._request.config.grow:
            return plan
        listing: RowGroups = self._listing
        if self._request.config.dedupe:
            hashes = plan.parts([SHA256])
            listing = with_duplicates(plan.unplanned(listing), self._report, len(plan), hashes)
        listing = as_planned(plan, listing, self._request.source, self._report)
        return updated_plan(plan, listing, self._request.source_options.most)

    def _check_choice(self, plan: Plan) -> None:
        """Raise RunConflictError if the run has images planned that the options of SOURCE leave out now."""
        check_not_narrower(self._request.source_options, plan.images, self._condition)

    def _compare(self, state: RunState, assembler: Assembler, plan: Plan) -> None:
        if self._request.config.grow and state.published:
            compare(state, assembler, plan, self._listing, self._report, self._present_uri)
            # An image that is embedded again now may have been in flight when an earlier driver ended.
            state.checkpointed = undone_checkpoints(state.done, self._log)
        noise = self._noise_shards(lambda: None)
        if noise is not None:
            lost = noise.missing({shard: len(plan.shard_range(shard)) for shard in state.published})
            for key in lost:
                self._report(f"the noise maps in {self._store.uri(key)!r} are gone; {REPAIR}")

    def _name_new_images(self, plan: Plan) -> None:
        if self._request.config.grow:
            return
        show_stage(self._report, "looking for new images in SOURCE")
        try:
            new, most = plan.count_new(self._listing), self._request.source_options.most
            new = new if most is None else min(new, most - len(plan))
        except (SourceError, StorageError) as error:
            self._report(f"SOURCE was not searched for new images ({error})")
            return
        if new:
            self._report(f"{counted(new, 'new image')} in SOURCE; add --update to embed {'it' if new == 1 else 'them'}")

    def _spec(self, fleet: Fleet, spread: int) -> EmbedSpec:
        if self._chose_without_gpu and fleet.device == "cuda":
            faster = "a run with --precision tf32 or --device cuda is faster on the workers' GPUs"
            self._report(f"precision: fp32, because this machine sees no GPU; {faster}")
        what = (self._store.url, self._request.config, self.generator, self._vgg)
        here = (fleet.device, spread, fleet.threads)
        return EmbedSpec(*what, *here, self._record.row_origin, self._request.learned, fleet.cores)

    def _expected_seconds(self, fleet: Fleet, images: int) -> float | None:
        known = [one for one in load_measured(self._report) if is_of(one.device, fleet)]
        work = Work.of(self.generator.fingerprint, self._request.config, images)
        expected = estimates(known, work, fleet.workers, None)
        return 3600 * expected[0].hours if len(expected) == 1 else None  # of several GPUs it is not known which it is

    @property
    def worker_bytes(self) -> int:
        """Return the memory that a worker on a CPU needs, about: what every worker does, VGG-16 and its images."""
        resolution = self.generator.settings.resolution
        images = self._request.config.batch_size or cpu_batch_size(resolution)
        vgg = sum(each.nbytes for each in self._vgg.tensors.values())
        return super().worker_bytes + vgg + images * (IMAGE_BYTES_PER_PIXEL * resolution**2 + self._memory_bytes)

    @property
    def _memory_bytes(self) -> int:
        """Return the memory that the learned optimiser keeps of an image: its points, and the gradients there."""
        if not OPTIMIZERS.get(self._request.config.embed.optimizer).needs_learned:
            return 0
        return 2 * POINTS * self.generator.latent_size * 4

    @property
    def update_work(self) -> float:
        """Return the multiplications of one step of one image: both networks, forward and back to the image."""
        return 2 * (super().update_work + vgg_work(self._vgg, self.generator.settings.resolution))

    def _crashed_rows(self, task: Task[Unit], error: Exception) -> list[Row]:
        unit = self.unit(task.index)
        return [failed_row(Task(unit, task.attempts), LoadedImage(), STATUS_CRASHED, error)]


def _identity(config: EmbedRunConfig) -> dict[str, Json]:
    """Return the settings that a resumed run must agree with, as JSON values; a model file by its sha256."""
    if config.face_model is None:
        return config.identity()
    content = model_file(config.face_model).read_bytes()
    return config.identity() | {"face_model": hashlib.sha256(content).hexdigest()}
