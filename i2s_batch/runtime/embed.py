"""One run from its arguments to its table: everything that happens once, in order."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from i2s_batch.config import RunConfig
from i2s_batch.errors import ObjectNotFoundError, RunConflictError
from i2s_batch.records import STATUS_OK
from i2s_batch.runtime.assembly import Assembler, Publisher
from i2s_batch.runtime.driver import Driver
from i2s_batch.runtime.failures import count_statuses, forget_failures
from i2s_batch.runtime.lease import Lease
from i2s_batch.runtime.plan import Plan
from i2s_batch.runtime.pools import Cluster
from i2s_batch.runtime.progress import Progress
from i2s_batch.runtime.run_record import check_same_run, make_record, parse_record, table_metadata
from i2s_batch.runtime.run_state import RunState, scan
from i2s_batch.runtime.summary import SummaryFile
from i2s_batch.runtime.terminal import duration
from i2s_batch.runtime.weights import generator_weights, vgg_weights
from i2s_batch.runtime.work_log import WorkLog
from i2s_batch.runtime.worker import WorkerSpec
from i2s_batch.storage.layout import RunLayout
from i2s_batch.storage.objects import open_store

# Ray sends SIGKILL three seconds after the SIGTERM of `ray job stop`.
SAVE_TIMEOUT_S = {signal.SIGINT: 60.0, signal.SIGTERM: 2.5}


class RunInterruptedError(Exception):
    """The run was stopped by a signal; running the same command again goes on with it."""

    def __init__(self, number: int, saved: int) -> None:
        super().__init__(f"stopped; {saved} images in flight were saved, run the same command again to go on")
        self.signal = number


@dataclass(frozen=True)
class EmbedJob:
    """What is to be embedded, with what, into where. Paths or URLs."""

    source: str
    out: str
    generator: str
    vgg: str
    config: RunConfig


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `summary` is what summary.json holds."""

    summary: dict[str, Any]
    config: RunConfig

    @property
    def failed(self) -> int:
        """Images whose row is not ok."""
        return sum(n for status, n in self.summary["statuses"].items() if status != STATUS_OK)

    @property
    def acceptable(self) -> bool:
        """Whether no more images failed than the settings allow."""
        return self.failed <= self.config.max_failed_fraction * self.summary["images"]


class EmbedRun:
    """A run over one output, new or resumed. Making it checks the arguments and writes nothing."""

    def __init__(self, job: EmbedJob, say: Callable[[str], None]) -> None:
        self._job, self._say = job, say
        self._store = open_store(job.out)
        self._layout = RunLayout(job.config.shard_size)
        self.generator = generator_weights(job.generator)
        self._vgg = vgg_weights(job.vgg)
        networks = {"generator": job.generator, "vgg": job.vgg}
        self._record = make_record(job.source, job.config, self.generator, self._vgg, networks)
        self._resumed = self._existing_record() is not None
        # A run that exists has its plan in its output, frozen; a new one is planned now, before anything starts.
        shard_size = job.config.shard_size
        self._plan = Plan.load(self._store, shard_size) if self._resumed else Plan.make(job.source, job.out, shard_size)
        self._log = WorkLog(self._store.url, shard_size, self.generator.latent_size)

    def describe(self) -> dict[str, Any]:
        """What the run would do, for `--dry-run`."""
        return {
            "out": self._store.url,
            "images": len(self._plan),
            "images_to_do": scan(self._store, self._plan, self._log).remaining,
            "shards": self._plan.shards,
            "resumed": self._resumed,
            "latents_bytes": len(self._plan) * self.generator.latent_size * 4,
        } | {key: self._record[key] for key in ("source", "settings", "generator", "vgg")}

    def execute(self, cluster: Cluster) -> Outcome:
        """Carry the run to its end on `cluster`, under the lease of the output."""
        self._store.check_writable()
        lease = Lease(self._store, self._layout.lease)
        lease.acquire()
        try:
            outcome = self._execute(cluster, lease)
            self._clean()
        finally:
            lease.release()
        return outcome

    def _existing_record(self) -> dict[str, Any] | None:
        """The run.json of the output, if it holds this very run; another run is refused."""
        key = self._layout.run_json
        try:
            record = parse_record(self._store.get(key), self._store.uri(key))
        except ObjectNotFoundError:
            return None
        check_same_run(record, self._record, self._store.url)
        return record

    def _begin(self) -> dict[str, Any]:
        """The run's record. A new run writes it after its plan, so that a run exists only with a whole plan."""
        existing = self._existing_record()
        if existing is not None:
            if not self._resumed:  # another driver planned this output since we looked
                self._plan = Plan.load(self._store, self._job.config.shard_size)
            return existing
        if next(self._store.list(self._layout.shards_prefix), None) is not None:
            raise RunConflictError(
                f"{self._store.url} holds a table but no run.json: what it was made with is unknown; use another OUT"
            )
        self._clean()  # rows and checkpoints of a run that was given up must not become this one's
        self._plan.save(self._store)
        self._store.put(self._layout.run_json, json.dumps(self._record, indent=2).encode())
        return self._record

    def _execute(self, cluster: Cluster, lease: Lease) -> Outcome:
        config, record = self._job.config, self._begin()
        plan = self._plan
        assembler = Assembler(self._store, plan, self._log, table_metadata(record))
        state = scan(self._store, plan, self._log)
        retried = forget_failures(state, assembler, self._log, plan) if config.retry_failed else 0
        if config.retry_failed:
            self._say(f"trying {retried} failed images again")
        count_statuses(state, assembler, self._log, plan)
        progress = Progress(state, config.embed.steps, self._say, retried)
        publisher = Publisher(assembler, plan, state)
        summaries = SummaryFile(self._store, progress.note)
        try:
            if state.remaining:
                self._work(cluster, lease, state, publisher, progress, summaries)
            progress.phase("writing the table")
            publisher.finish()
            summary = progress.summary(finished=True) | {key: record[key] for key in ("generator", "vgg")}
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
        state: RunState,
        publisher: Publisher,
        progress: Progress,
        summaries: SummaryFile,
    ) -> None:
        """Embed what remains, with the workers that the cluster offers."""
        config = self._job.config
        progress.phase("joining or starting the cluster")
        fleet = cluster.fleet(config, state.remaining)
        spread = -(-state.remaining // fleet.workers)
        spec = WorkerSpec(self._store.url, config, self.generator, self._vgg, fleet.device, spread, fleet.threads)
        pool = cluster.pool(spec, fleet)
        resumed = f" ({len(state.checkpointed)} from a checkpoint)" if state.checkpointed else ""
        total, workers = len(self._plan), fleet.workers
        self._say(f"{total} images, {state.remaining} to do{resumed}, {workers} workers on {fleet.device}")
        progress.phase("")
        driver = Driver(self._plan, state, pool, config, self._store, self._log, publisher, progress)
        with _signals() as received:

            def keep_on() -> None:
                lease.check()
                if received:
                    timeout_s = SAVE_TIMEOUT_S[signal.Signals(received[0])]
                    progress.note(f"stopping: the images in flight are being saved (at most {duration(timeout_s)})")
                    progress.phase("stopping")
                    saved = driver.save(timeout_s)
                    summaries.stopped(progress.summary(finished=False))
                    raise RunInterruptedError(received[0], saved)
                summaries.refresh(lambda: progress.summary(finished=False))

            try:
                driver.run(fleet.workers, keep_on)
            finally:
                pool.close()

    def _clean(self) -> None:
        """The work folder is empty when the run has ended; the lease goes last."""
        keys = [info.key for info in self._store.list(self._layout.work_prefix)]
        self._store.delete([key for key in keys if key != self._layout.lease])
        self._store.sweep()


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the yielded list instead of dying of them."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in SAVE_TIMEOUT_S}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
