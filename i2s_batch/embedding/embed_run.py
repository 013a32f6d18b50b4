"""The run that embeds pictures: what it is recorded as, its plan, its workers, its failed rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from i2s_batch.config import EmbedRunConfig
from i2s_batch.embedding.embed_worker import EmbedSpec
from i2s_batch.embedding.rows import LoadedPicture, failed_row
from i2s_batch.embedding.update import compare, grown_plan
from i2s_batch.models.loading import generator_weights, vgg_weights
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_record import IN_PROCESS, make_record
from i2s_batch.output.run_state import RunState, undone_checkpoints
from i2s_batch.output.units import Task
from i2s_batch.parquet.sorted_rows import SpilledRows
from i2s_batch.run.assembly import Assembler
from i2s_batch.run.execution import Run
from i2s_batch.run.pools import Fleet
from i2s_batch.schema.columns import STATUS_CRASHED
from i2s_batch.sources.source import list_images


@dataclass(frozen=True)
class EmbedRunRequest:
    """What is to be embedded, with what, into where. Paths or URLs."""

    source: str
    out: str
    generator: str
    vgg: str
    config: EmbedRunConfig


class EmbedRun(Run):
    """A run that embeds the pictures of a source."""

    def __init__(self, job: EmbedRunRequest, say: Callable[[str], None]) -> None:
        self._job = job
        self._vgg = vgg_weights(job.vgg)
        self.steps = job.config.embed.steps
        generator = generator_weights(job.generator)
        networks = {"generator": job.generator, "vgg": job.vgg}
        record = make_record(job.source, job.config.identity(), generator, self._vgg, networks) | self._facts()
        super().__init__(job.out, job.config, record, generator, say)

    def _facts(self) -> dict[str, Any]:
        """Return what else the record holds."""
        return {IN_PROCESS: True} if self._job.config.in_process else {}

    def _make_plan(self) -> Plan:
        return Plan(self._list(), self._job.config.shard_size)

    def _prepare(self) -> None:
        """Nothing: the workers read the pictures where they are."""

    def _list(self) -> SpilledRows:
        return list_images(self._job.source, exclude=self._job.out)

    @cached_property
    def _listing(self) -> SpilledRows:
        """The source as it is now, for a run that is to grow."""
        return self._list()

    def _grow(self, plan: Plan) -> Plan:
        return grown_plan(plan, self._listing) if self._job.config.grow else plan

    def _compare(self, state: RunState, assembler: Assembler, plan: Plan) -> None:
        if self._job.config.grow and state.published:
            compare(state, assembler, plan, self._listing, self._say)
            # Images that are to be embedded again now may have been in flight when an earlier driver ended.
            state.checkpointed = undone_checkpoints(state.done, self._log)

    def _spec(self, fleet: Fleet, spread: int) -> EmbedSpec:
        config = self._job.config
        return EmbedSpec(self._store.url, config, self.generator, self._vgg, fleet.device, spread, fleet.threads)

    def _crashed_rows(self, task: Task, error: Exception) -> list[dict[str, Any]]:
        return [failed_row(task, LoadedPicture(), STATUS_CRASHED, error, self._job.config.embed)]

    def _complete(self) -> None:
        """Nothing: the table is all that an embedding makes."""
