"""Executes a run over one output, whatever it does with its images: everything that happens once, in order."""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NoReturn

from i2s_batch.config import RunConfig
from i2s_batch.errors import I2SError, StorageError
from i2s_batch.models import GeneratorWeights
from i2s_batch.models.work import generator_work
from i2s_batch.output.archives.writing import ArchiveWriter
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.lease import Lease
from i2s_batch.output.logged_rows import delete_damaged_rows, delete_rows_without_noise
from i2s_batch.output.noise_log import NoiseDamagedError
from i2s_batch.output.noise_shards import NoiseShards
from i2s_batch.output.overwriting import check_writes_over_nothing, is_unbegun
from i2s_batch.output.plan import Plan
from i2s_batch.output.publication import settle_publications
from i2s_batch.output.run_record import RunRecord
from i2s_batch.output.run_state import RunState, nothing_done, scan
from i2s_batch.output.run_summary import RunSummary
from i2s_batch.output.summary_file import SummaryFile
from i2s_batch.output.units import Task, Unit
from i2s_batch.output.work_log import RowsDamagedError, RowsGoneError, WorkLog
from i2s_batch.plurals import counted
from i2s_batch.run.assembly import Assembler, Publisher
from i2s_batch.run.begun import BegunUnits
from i2s_batch.run.driver import Driver
from i2s_batch.run.failures import count_statuses, failed_images, reset_failures
from i2s_batch.run.pools import Cluster, Fleet, WorkerSpec
from i2s_batch.run.preview import RunPreview
from i2s_batch.run.progress import Progress
from i2s_batch.run.stopping import Leave, RunInterruptedError, stopped_by_signals
from i2s_batch.run.taking import described, recorded_anew, run_at, take_place, with_recorded_sources
from i2s_batch.run.terminal import duration
from i2s_batch.schema.columns import NOT_COUNTED, NOT_FAILED
from i2s_batch.schema.row import Row
from i2s_batch.storage import open_store

_SCANS = 3  # of what is done, by a run whose log changes meanwhile
# What Python, PyTorch and Ray take in a worker on a CPU, beside its networks and images: 0.65 GB with the demo's.
WORKER_BYTES = 700 << 20
_RELEASE_S = 1.0  # time to release the lease in a process that ends at once


@dataclass(frozen=True)
class Outcome:
    """Holds the outcome of a run. `summary` is what summary.json holds."""

    summary: RunSummary
    config: RunConfig

    @property
    def failed(self) -> int:
        """Return how many images failed; a file that is not an image, or has no face to align, has not."""
        return sum(n for status, n in self.summary.statuses.items() if status not in NOT_FAILED)

    def counted(self, what: str, plural: str | None = None) -> str:
        """Return how many images there are of each status, in a few words."""
        counts = ", ".join(f"{n} {status}" for status, n in self.summary.statuses.items())
        return f"{counted(self.summary.images, what, plural)}: {counts}"

    @property
    def acceptable(self) -> bool:
        """Return whether no more images failed than the settings allow."""
        images = self.summary.images - sum(self.summary.statuses.get(status, 0) for status in NOT_COUNTED)
        return self.failed <= self.config.max_failed_fraction * images


class Run(ABC):
    """Carries out a run over one output, new or resumed: `plan`, then `execute`."""

    def __init__(
        self,
        out: str,
        config: RunConfig,
        record: RunRecord,
        generator: GeneratorWeights,
        report: Callable[[str], None],
    ) -> None:
        """Prepare the run at `out`; writes nothing.

        Args:
            out: The output.
            config: How the run is carried out.
            record: What run.json is to hold (`run_record.new_record`).
            generator: The generator's weights.
            report: Shows a line to the user.
        """
        self._config, self._record, self.generator, self._report = config, record, generator, report
        self._store = open_store(out)
        self._resumed = self._has_begun = self._killed = False
        self._replaced: RunRecord | None = None  # what OUT holds, where this run takes its place
        self._planned: Plan | None = None

    # What each kind of run defines

    steps: int  # updates of an image; 1 where it is only rendered

    @abstractmethod
    def _make_plan(self) -> Plan:
        """Return the images of a new run."""

    @abstractmethod
    def unit(self, index: int) -> Unit:
        """Return a unit of the plan, with all that its worker needs to know."""

    def _prepare(self) -> None:  # noqa: B027  # most workers need nothing beside the plan
        """Make what the workers need beside the plan. Existing files stay."""

    @abstractmethod
    def _spec(self, fleet: Fleet, spread: int) -> WorkerSpec:
        """Return what the workers are; none takes more than `spread` units at a time, so that all have work."""

    @abstractmethod
    def _crashed_rows(self, task: Task[Unit], error: Exception) -> list[Row]:
        """Return the rows of a unit that was given up."""

    def _updated(self, plan: Plan) -> Plan:
        """Return the plan of a resumed run, with the new images of SOURCE if the run is to be updated."""
        return plan

    def _compare(self, state: RunState, assembler: Assembler, plan: Plan) -> None:  # noqa: B027
        """Mark images that have changed in SOURCE as not done, if the run is to be updated."""

    def _complete(self) -> None:  # noqa: B027
        """Make what is made from the whole table, once it exists."""

    def _archives(self) -> ArchiveWriter | None:
        """Return what writes the archives of the images; None for a run that writes none."""
        return None

    def _same_source(self, existing: RunRecord, asked: RunRecord) -> RunRecord:
        """Return the record asked for, with the names of `existing` for sources that are the same files."""
        return with_recorded_sources(existing, asked)

    def _noise_shards(self, confirm: Callable[[], None]) -> NoiseShards | None:
        """Return what publishes the noise maps of the images; None for a run without any."""
        return None

    def _expected_seconds(self, fleet: Fleet, images: int) -> float | None:
        """Return how long `images` are expected to take on these workers; None where no speed was measured."""
        return None

    def _name_new_images(self, plan: Plan) -> None:  # noqa: B027
        """Report the images that SOURCE has gained since a run was planned that is done."""

    # What all kinds of runs share

    @property
    def worker_bytes(self) -> int:
        """Return the memory that a worker on a CPU needs, about: Python, PyTorch and the networks."""
        return WORKER_BYTES + sum(each.nbytes for each in self.generator.tensors.values())

    @property
    def update_work(self) -> float:
        """Return the multiplications of one update of one image, about: a forward pass of the generator."""
        return generator_work(self.generator)

    def was_killed(self) -> bool:
        """Return whether a driver of this output, or a worker with an image, has died: the marks are still there.

        To be asked before the run takes the lease. A run whose place this one takes does not count.
        """
        marks = () if self._replaced is not None else (RunLayout.lease, RunLayout.deaths)
        return any(True for mark in marks for _ in self._store.list(mark))

    def describe(self) -> RunPreview:
        """Return what the run would do, for `--dry-run`."""
        plan = self.plan()
        plan = self._updated(plan) if self._resumed else plan
        state = self._scan(plan) if self._resumed else nothing_done(plan)
        if self._resumed and not state.remaining:
            self._name_new_images(plan)
        if self._resumed and self._config.retry_failed:
            assembler = Assembler(self._store, plan, self._log, self._record.table_metadata(), lambda: None)
            failed = itertools.chain(*failed_images(state, assembler, self._log, plan))
            state.done[sorted({plan.unit_of(image) for image in failed})] = False
        return RunPreview(
            out=self._store.url,
            images=len(plan),
            images_to_do=state.remaining_images,
            shards=plan.shards,
            resumed=self._resumed,
            latents_bytes=len(plan) * self.generator.latent_size * 4,
            record=self._record,
        )

    def plan(self) -> Plan:
        """Return the plan: for an existing run the frozen one in its output, for a new run what there is to do now.

        Checks the output, and writes nothing.

        Raises:
            RunConflictError: The output is not free, or holds another run.
        """
        if self._planned is None:
            self._resumed = self._existing_record() is not None
            self._planned = self._loaded_plan() if self._resumed else self._make_plan()
        return self._planned

    def overwritten(self) -> str | None:
        """Return in words which run of the output is deleted for this one, as planned; None if none that has begun."""
        if self._replaced is None or is_unbegun(self._store):
            return None
        return described(self._store, self._replaced)

    def execute(self, cluster: Cluster) -> Outcome:
        """Carry the run to its end on `cluster`, under the lease of the output."""
        self.plan()
        self._store.check_writable()
        self._killed = self.was_killed()
        lease = Lease(self._store, RunLayout.lease)
        lease.acquire()
        try:
            outcome = self._execute_with_rescans(cluster, lease)
            self._complete()
            lease.confirm()
            self.clear_work()
        except StorageError:
            # A driver that took the output over removes what this one left half-written. Then the lost lease is the
            # reason, and the error to raise.
            with suppress(StorageError):
                lease.confirm()
            raise
        finally:
            lease.release()
        return outcome

    def _execute_with_rescans(self, cluster: Cluster, lease: Lease) -> Outcome:
        """Do what is not done. Where rows of the log are missing or damaged, determine again what is done.

        Missing rows are in the table already, or are computed again.
        """
        for _ in range(_SCANS - 1):
            try:
                return self._execute(cluster, lease)
            except RowsGoneError as error:
                lease.confirm()
                self._report(f"{error}, which an earlier driver may have removed; checking again what is done")
            except NoiseDamagedError as error:
                lease.confirm()
                delete_rows_without_noise(self._log, self.plan(), error, self._report)
            except RowsDamagedError as error:
                lease.confirm()
                if not delete_damaged_rows(self._log, self.plan(), self._report):
                    self._report(f"{next(iter(error.reasons.values()))}; the images of the unit are computed again")
        return self._execute(cluster, lease)

    @property
    def _log(self) -> WorkLog:
        return WorkLog(self._store.url, self.generator.latent_size, self._record.row_origin)

    def _scan(self, plan: Plan, report: Callable[[str], None] = lambda line: None) -> RunState:
        """Return what is done: that of which the rows exist and, where images go into archives, the archive too."""
        state, archives = scan(self._store, plan, self._log, report), self._archives()
        for shard in archives.missing(state.published) if archives is not None else ():
            report(f"the archive of shard {shard} is missing; its images are made again")
            units = plan.units_of(shard)
            state.done[[unit for unit in units if unit not in state.logged.get(shard, ())]] = False
        return state

    def _loaded_plan(self) -> Plan:
        return Plan.load(self._store, self._config.shard_size)

    def _existing_record(self) -> RunRecord | None:
        """Return the run.json of the output, None if a new run may begin there.

        That is so if OUT is free, or holds a run of ours that is to be overwritten, or of which no image was begun.
        Rows that are added to a run are those of its schema version, with its id.

        Raises:
            RunConflictError: OUT holds another run, or files of somebody else.
        """
        found = run_at(
            self._store,
            lambda existing: self._same_source(existing, self._record),
            self._config.overwrite and not self._has_begun,
        )
        self._replaced = found.replaced
        if (record := found.resumed) is not None:
            self._record = replace(self._record, schema_version=record.schema_version, run_id=record.run_id)
        return found.resumed

    def begin(self, confirm: Callable[[], None] = lambda: None) -> RunRecord:
        """Write the plan and the record of a new run, or take those of the one that is resumed; return the record.

        `execute` begins with it. A new run writes its record after its plan, so that a run exists only with a whole
        plan. `confirm` raises if the output is no longer ours.
        """
        existing = self._existing_record()
        if existing is not None:
            # Another driver may have planned this output since it was checked.
            plan = self.plan() if self._resumed else self._loaded_plan()
            self._planned = self._updated(plan)
            if self._planned is not plan:
                confirm()
                self._save(self._planned)
            self._has_begun = True
            return recorded_anew(self._store, existing, self._record, confirm)
        confirm()
        if self._resumed:  # another driver has replaced the run since it was checked
            self._planned, self._resumed = self._make_plan(), False
        plan = self.plan()
        self._empty(confirm)
        self._save(plan)
        if self._replaced is None:
            self._store.put(RunLayout.run_json, self._record.encode())
        self._has_begun, self._replaced = True, None
        return self._record

    def _empty(self, confirm: Callable[[], None]) -> None:
        """Delete what an earlier run left in the output; of a run that is replaced the record becomes this one's."""
        if self._replaced is None:
            self.clear_work()  # of a run that was killed before it had a run.json
            return
        check_writes_over_nothing(self._store, self._replaced, self._record, self.plan())
        what = "is overwritten" if self._config.overwrite else "had no image begun and is replaced"
        self._report(f"the run in {self._store.url} {what}")
        take_place(self._store, self._replaced, self._record, self._config.overwrite, confirm)

    def _save(self, plan: Plan) -> None:
        """Save the plan and continue with the saved one, which holds in memory only what is asked for."""
        plan.save(self._store)
        self._planned = self._loaded_plan()

    def _execute(self, cluster: Cluster, lease: Lease) -> Outcome:
        config, record = self._config, self.begin(lease.confirm)
        plan, log = self.plan(), self._log
        archives, noise = self._archives(), self._noise_shards(lease.confirm)
        assembler = Assembler(self._store, plan, log, record.table_metadata(), lease.confirm, archives, noise)
        lease.confirm()  # before another driver's unfinished publications are completed
        settle_publications(self._store, self._report)
        if archives is not None:
            archives.discard_unfinished()
        state = self._scan(plan, self._report)
        lease.confirm()
        retried = reset_failures(state, assembler, log, plan, self._store) if config.retry_failed else 0
        if config.retry_failed:
            self._report(f"trying {counted(retried, 'failed image')} again")
        self._compare(state, assembler, plan)
        if not state.remaining:
            self._name_new_images(plan)
        count_statuses(state, assembler, log, plan)
        progress = Progress(state, self.steps, self._report, retried)
        publisher = Publisher(assembler, plan, state)
        summaries = SummaryFile(self._store, progress.log)
        try:
            if state.remaining:
                self._prepare()
                self._work(cluster, lease, log, state, publisher, progress, summaries)
            progress.phase("writing the table")
            publisher.finish()
            summary = replace(progress.summary(finished=True), generator=record.generator, vgg=record.vgg)
            summaries.finished(summary)
        finally:
            publisher.close()
            summaries.close()
        progress.end()
        return Outcome(summary, config)

    def _work(
        self,
        cluster: Cluster,
        lease: Lease,
        log: WorkLog,
        state: RunState,
        publisher: Publisher,
        progress: Progress,
        summaries: SummaryFile,
    ) -> None:
        """Do what remains, with the workers that the cluster offers."""
        progress.phase("joining or starting the cluster")
        fleet = cluster.fleet(self._config, state.remaining, self.worker_bytes)
        for line in fleet.notes:
            self._report(line)
        pool = cluster.pool(self._spec(fleet, spread=-(-state.remaining // fleet.workers)), fleet)
        resumed = f" ({len(state.checkpointed)} from a checkpoint)" if state.checkpointed else ""
        total, workers = counted(len(self.plan()), "image"), counted(fleet.workers, "worker")
        where = f", {fleet.where}" if fleet.where else ""
        expected_s = self._expected_seconds(fleet, state.remaining_images)
        expected = "" if expected_s is None else f", about {duration(expected_s)} by the speed measured here"
        self._report(f"{total}, {state.remaining_images} to do{resumed}, {workers} on {fleet.device}{where}{expected}")
        progress.phase("")
        # An image may have killed the last driver, in whose process it was; without Ray it could kill each one.
        begun = BegunUnits(self._store, state) if self._killed and cluster.leave is not None else None
        driver = Driver(state, pool, self.unit, self._crashed_rows, self._store, log, publisher, progress, begun)

        def stop(number: int, timeout_s: float) -> int:
            progress.log(f"stopping: the images in flight are being saved (at most {duration(timeout_s)})")
            progress.phase("stopping")
            saved = driver.save(timeout_s)
            summaries.stopped(progress.summary(finished=False))
            return saved

        with stopped_by_signals(stop, self._leaving(cluster, lease)) as check_signals:

            def check_stop() -> None:
                lease.check()
                check_signals()
                summaries.refresh(lambda: progress.summary(finished=False))

            try:
                driver.run(fleet.workers, check_stop)
            finally:
                pool.close()
                with suppress(I2SError):  # a lost lease: then the counts are those of another driver
                    lease.check()
                    driver.settle()

    @staticmethod
    def _leaving(cluster: Cluster, lease: Lease) -> Leave | None:
        """Return what ends the process in the middle of a step of the main thread; None where that is not wanted."""
        leave = cluster.leave
        if leave is None:
            return None

        def release_and_leave(stopped: RunInterruptedError) -> NoReturn:
            releasing = threading.Thread(target=lease.release, daemon=True)
            releasing.start()
            releasing.join(_RELEASE_S)  # if the store does not respond, the lease expires
            leave(stopped)

        return release_and_leave

    def clear_work(self) -> None:
        """Empty the work folder when the run has ended, except for files of others; delete the lease last."""
        keys = [info.key for info in self._store.list(RunLayout.work_prefix) if RunLayout.is_work(info.key)]
        self._store.delete([key for key in keys if key != RunLayout.lease])
        self._store.sweep(RunLayout.is_folder)
