"""Determines how far a run is, from its output alone: nothing is written, no lease is taken, no network is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from i2s_batch.config import Json
from i2s_batch.errors import ObjectNotFoundError, StorageError
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.lease import EXPIRY_S, is_holder_alive, is_on_this_machine, parse_holder
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_record import RunRecord
from i2s_batch.output.run_state import read_deaths
from i2s_batch.output.run_summary import Flight
from i2s_batch.output.summary_file import SUMMARY_EVERY_S
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run.row_survey import Failure, Slow, survey
from i2s_batch.run.terminal import duration
from i2s_batch.schema.columns import NOT_FAILED
from i2s_batch.schema.settings import load
from i2s_batch.storage import Store, open_store

RUNNING, STOPPED, FINISHED = "running", "stopped", "finished"

# A summary.json that is older than this describes the present no more. Generous, because the clocks of two machines are
# compared.
FRESH_S = 9 * SUMMARY_EVERY_S


@dataclass(frozen=True)
class Holder:
    """Names who holds the lease. `since`: UTC, ISO 8601."""

    host: str
    pid: str
    since: str


@dataclass(frozen=True)
class Live:
    """Holds what the driver last wrote into summary.json.

    Rates are None while there is none, and `waiting_for` gives the reason.
    """

    age_s: float
    in_flight: int
    longest_in_flight: tuple[Flight, ...]
    retried: int
    waiting_for: str | None
    steps_per_second: float | None
    images_per_hour: float | None
    eta_seconds: float | None


@dataclass(frozen=True)
class _Written:
    """Holds those fields of summary.json that tell whether `Live` is of the present."""

    finished: bool
    updated_at: datetime


@dataclass(frozen=True)
class RunStatus:
    """Holds what is known of the run at `out`.

    Attributes:
        out: The output.
        state: `running`, `stopped` or `finished`.
        images: Planned images.
        steps: Updates of an image, those of its noise maps included.
        statuses: Number of rows of each status.
        shards: Planned shards.
        shards_published: Shards in the table.
        saved: Images with a checkpoint and no row.
        holder: Who holds the lease; alive only when `state` is `running`.
        summary_age_s: Age of summary.json, in seconds.
        live: What the driver reports; None when the run is not running, or summary.json is too old.
        slowest: The images that took longest.
        last_failures: The most recent failures.
        deaths: Workers that died with an image.
        command: The command that resumes the run; None if a command line cannot express it.
    """

    out: str
    state: str
    images: int
    steps: int
    statuses: dict[str, int]
    shards: int
    shards_published: int
    saved: int
    holder: Holder | None
    summary_age_s: float | None
    live: Live | None
    slowest: list[Slow]
    last_failures: list[Failure]
    deaths: dict[str, int]
    command: str | None

    @property
    def done(self) -> int:
        """Return the number of images with a row."""
        return sum(self.statuses.values())

    @property
    def failed(self) -> int:
        """Return how many images failed; a file that is not an image has not."""
        return self.done - sum(self.statuses.get(status, 0) for status in NOT_FAILED)

    @property
    def running(self) -> bool:
        """Return whether a driver works on it."""
        return self.state == RUNNING

    @property
    def finished(self) -> bool:
        """Return whether every image has its row in the table."""
        return self.state == FINISHED

    def as_json(self) -> dict[str, Json]:
        """Return it as JSON values."""
        facts: dict[str, Json] = asdict(self)
        counts: dict[str, Json] = {"done": self.done, "failed": self.failed, "remaining": self.images - self.done}
        return {"out": self.out, "state": self.state} | counts | facts


def read_status(out: str, report: Callable[[str], None]) -> RunStatus:
    """Return the status of the run at `out`, a local path or s3://bucket/prefix.

    `report` gets a line before a wait: whether a driver on another machine is alive shows only in its heartbeat.

    Raises:
        StorageError: No such output, or one that is damaged.
    """
    store = open_store(out)
    record = _record(store)
    plan = Plan.load(store, record.shard_size)
    log = WorkLog(store.url, record.generator.latent_size, record.row_origin)
    held = _get(store, RunLayout.lease)
    table = survey(store, plan, log, report)
    alive = False
    if held is not None:
        if not is_on_this_machine(held):
            report(f"waiting for a heartbeat from {_holder(held).host} (at most {duration(EXPIRY_S)})")
        alive = is_holder_alive(store, RunLayout.lease, held)
        if not alive and _get(store, RunLayout.lease) is None:
            held, table = None, survey(store, plan, log)  # it ended meanwhile: its last rows count too
    state = RUNNING if alive else STOPPED
    if not alive and len(table.published) == plan.shards and not table.waiting:
        state = FINISHED
    live = _live(_get(store, RunLayout.summary))
    return RunStatus(
        out=store.url,
        state=state,
        images=len(plan),
        steps=(record.settings.steps or 1) + (record.settings.noise_steps or 0),
        statuses=table.statuses(),
        shards=plan.shards,
        shards_published=len(table.published),
        saved=table.saved(log),
        holder=None if held is None else _holder(held),
        summary_age_s=None if live is None else live.age_s,
        live=live if live is not None and alive and live.age_s <= FRESH_S else None,
        slowest=table.slowest(),
        last_failures=table.last_failures(),
        deaths={
            plan.image_id(plan.unit_range(unit)[0]): n for unit, n in read_deaths(store).items() if unit < plan.units
        },
        command=record.resume_command(store.url),
    )


def _record(store: Store) -> RunRecord:
    content = _get(store, RunLayout.run_json)
    if content is None:
        raise StorageError(f"{store.url!r} holds no run of i2s-batch (no run.json); give the OUT of an embed command")
    return RunRecord.decode(content, store.uri(RunLayout.run_json))


def _get(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except ObjectNotFoundError:
        return None


def _holder(held: bytes) -> Holder:
    found = parse_holder(held)
    return Holder(*("unknown" if fact is None else str(fact) for fact in (found.host, found.pid, found.since)))


def _live(content: bytes | None) -> Live | None:
    """Return what summary.json holds; None if there is none of a run under way, or it is not ours."""
    if content is None:
        return None
    try:
        values = json.loads(content)
        written = load(values, _Written)
        age_s = (datetime.now(UTC) - written.updated_at).total_seconds() if written.updated_at.tzinfo else None
        if written.finished or age_s is None:
            return None
        # Clocks may disagree: an age below 0 means 0.
        return load(values | {"age_s": max(0.0, round(age_s, 1))}, Live)
    except (ValueError, RecursionError):
        return None
