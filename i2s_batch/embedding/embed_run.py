"""The run that embeds pictures: what it is recorded as, its plan, its workers, its failed rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import msgspec

from i2s_batch.config import EmbedRunConfig, ImageSettings
from i2s_batch.embedding.embed_worker import EmbedSpec
from i2s_batch.embedding.rows import LoadedPicture, failed_row
from i2s_batch.embedding.units import EmbedUnit
from i2s_batch.embedding.update import compare, grown_plan
from i2s_batch.models.loading import generator_weights, vgg_weights
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_record import new_record
from i2s_batch.output.run_state import RunState, undone_checkpoints
from i2s_batch.output.units import Task, Unit
from i2s_batch.parquet.sorted_rows import SpilledRows
from i2s_batch.run.assembly import Assembler
from i2s_batch.run.execution import Run
from i2s_batch.run.pools import Fleet
from i2s_batch.run.recorded import generator_record, vgg_record
from i2s_batch.schema.columns import STATUS_CRASHED
from i2s_batch.schema.row import Row
from i2s_batch.sources.chosen import check_not_narrower
from i2s_batch.sources.options import AS_USUAL, SourceOptions
from i2s_batch.sources.source import list_images


@dataclass(frozen=True)
class EmbedRunRequest:
    """What is to be embedded, with what, into where. Paths or URLs."""

    source: str
    out: str
    generator: str
    vgg: str
    config: EmbedRunConfig
    source_options: SourceOptions = field(default=AS_USUAL, kw_only=True)


class EmbedRun(Run):
    """A run that embeds the pictures of a source."""

    def __init__(self, request: EmbedRunRequest, say: Callable[[str], None]) -> None:
        self._request = request
        self._vgg = vgg_weights(request.vgg)
        self.steps = request.config.embed.steps
        generator = generator_weights(request.generator)
        networks = {"generator": request.generator, "vgg": request.vgg}
        record = new_record(
            request.source, request.config.identity(), generator_record(generator), vgg_record(self._vgg), networks
        )
        command = self._command()
        in_process = request.config.in_process and command is msgspec.UNSET  # else the command says it
        record = replace(record, in_process=in_process, command=command)
        super().__init__(request.out, request.config, record, generator, say)

    def _command(self) -> tuple[str, ...] | msgspec.UnsetType | None:
        """Return the words of the command that resumes the run, where the record's settings do not say it."""
        return msgspec.UNSET

    def _make_plan(self) -> Plan:
        return Plan(self._list(), self._request.config.shard_size)

    def unit(self, index: int) -> EmbedUnit:
        row = self.plan().unit_rows(index)
        image_id, uri = row["image_id"][0].as_py(), row["uri"][0].as_py()
        settings = ImageSettings(self._request.config.embed)
        return EmbedUnit(index=index, image_ids=(image_id,), uri=uri, settings=settings)

    def _list(self) -> SpilledRows:
        request = self._request
        return list_images(request.source, request.out, request.source_options, self._say)

    @cached_property
    def _listing(self) -> SpilledRows:
        """The source as it is now, for a run that is to grow."""
        return self._list()

    def _updated(self, plan: Plan) -> Plan:
        if not self._request.config.grow:
            return plan
        check_not_narrower(self._request.source_options, plan.images)
        return grown_plan(plan, self._listing)

    def _compare(self, state: RunState, assembler: Assembler, plan: Plan) -> None:
        if self._request.config.grow and state.published:
            compare(state, assembler, plan, self._listing, self._say)
            # Images that are to be embedded again now may have been in flight when an earlier driver ended.
            state.checkpointed = undone_checkpoints(state.done, self._log)

    def _spec(self, fleet: Fleet, spread: int) -> EmbedSpec:
        config = self._request.config
        return EmbedSpec(self._store.url, config, self.generator, self._vgg, fleet.device, spread, fleet.threads)

    def _crashed_rows(self, task: Task[Unit], error: Exception) -> list[Row]:
        unit = self.unit(task.index)
        return [failed_row(Task(unit, task.attempts), LoadedPicture(), STATUS_CRASHED, error)]
