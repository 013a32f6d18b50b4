"""Checks every promise of a run's table: the plan, each file, each row, and a sample rendered again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from i2s_batch.concurrency import map_ahead
from i2s_batch.config import ImageSettings
from i2s_batch.errors import ConfigError, I2SError, ObjectNotFoundError, StorageError
from i2s_batch.maintenance.verification.archive_checks import archive_findings
from i2s_batch.maintenance.verification.embedded_rows import EmbeddedRows
from i2s_batch.maintenance.verification.file_facts import NOTHING_EXPECTED, ExpectedFacts
from i2s_batch.maintenance.verification.noise_checks import NoiseOfRows, foreign_findings, noise_findings
from i2s_batch.maintenance.verification.plan_checks import CheckedShard, against_plan, check_presence, duplicate_ids
from i2s_batch.maintenance.verification.row_checks import KeptNoiseOf, Networks, RowCheck, Variants, row_check
from i2s_batch.maintenance.verification.shard_checks import Expected, Finding, check_shard
from i2s_batch.output.archives.reading import RunImages
from i2s_batch.output.archives.registered import ARCHIVES
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.moved_source import moved_uri
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_record import CHECKSUMS, RunRecord
from i2s_batch.parquet.arrow_files import lent_to_arrow
from i2s_batch.schema.columns import STATUS_OK
from i2s_batch.schema.metadata import table_settings, texts_of
from i2s_batch.schema.settings import TableSettings
from i2s_batch.storage import Store, open_store
from i2s_batch.table.shards import read_shard, row_of_shard
from i2s_batch.table.snapshot import NOT_OURS, existing_shards

_READERS = 4  # shards read at once, each with its bytes, some 30 MB, and a row group in memory


@dataclass
class Verification:
    """Holds what was checked, what is wrong, and what could not be checked.

    Attributes:
        out: The output.
        planned: Images of the plan; None without a plan.
        files: Files of the table.
        as_written: Files whose bytes are those that were published.
        rows: Rows of the table.
        latents: Rows with a latent.
        noise: Rows with noise maps.
        missing: Planned images of shards that are not written yet, as long as the run has not ended.
        rendered: Rows that were reproduced from their latents.
        within: The tolerance of that, as text.
        findings: What is wrong.
        unchecked: What could not be checked, and why.
    """

    out: str
    planned: int | None = None
    files: int = 0
    as_written: int = 0
    rows: int = 0
    latents: int = 0
    noise: int = 0
    missing: int = 0
    rendered: int = 0
    within: str = ""
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Return whether the table is whole and nothing is wrong."""
        return not self.findings and not self.missing


def check_table(
    out: str,
    variants: Variants,
    kept_noise: KeptNoiseOf,
    sample: int = 8,
    generator: str | None = None,
    vgg: str | None = None,
) -> Verification:
    """Check the table at `out`. Faults of the table are findings.

    Raises what `generator` or `vgg` raises if it is given and cannot be read or is another one.

    Args:
        out: The output of a run.
        variants: Gives the variants of a study from the settings of a run.
        kept_noise: Gives the noise maps of edits that keep those of their images.
        sample: Rows that are rendered again.
        generator: A path or URL; None for the recorded one.
        vgg: A path or URL; None for the recorded one.

    Raises:
        StorageError: There is no output at all.
    """
    store = open_store(out)
    found = Verification(store.url)
    record, plan = _record(store, variants, found), None
    if record is not None:
        plan = _plan(store, record, found)
    keys = _shard_keys(store, found)
    if not keys and record is None:
        existing_shards(store)  # raises an error that describes what is there instead
    metadata = _any_metadata(store, keys) if record is None else record.table_metadata()
    settings = _settings(metadata)
    of_study = {} if record is None else variants(settings.run)
    networks = Networks(record is not None, generator, vgg)
    check = row_check(store, metadata, settings, networks, of_study, kept_noise, found.unchecked)
    expected = _expected(record, metadata, of_study, plan, check)
    shards = _check_shards(store, keys, plan, expected, found)
    found.findings += duplicate_ids(store, shards, expected)
    if plan is not None:
        findings, found.missing = check_presence(store, shards, plan)
        found.findings += findings
    if settings.run.output in ARCHIVES:
        images = RunImages(store, settings.run)
        for shard in (each for each in shards if each.sound):
            index = RunLayout.shard_index(shard.key) or 0
            found.findings += archive_findings(store, images, settings.run.output, index)
    check = _with_noise(store, record, shards, check, found)
    if check is not None:
        _check_sample(store, shards, check, sample, found, () if record is None else record.moved)
    return found


def _with_noise(
    store: Store, record: RunRecord | None, shards: list[CheckedShard], check: RowCheck | None, found: Verification
) -> RowCheck | None:
    """Check the noise maps of a run that has them; return what renders its rows again, with their maps too."""
    if record is None or record.is_edit or not record.settings.noise_steps:
        return check
    if not isinstance(check, EmbeddedRows):
        found.unchecked.append("the noise maps: without the generator it is not known how large they are")
        return check
    size = check.generator.noise_layout.size
    sound = [shard.key for shard in shards if shard.sound]
    findings, found.noise = noise_findings(store, sound, record.shard_size, size)
    found.findings += findings + foreign_findings(store)
    return replace(check, noise=None if findings else NoiseOfRows(store, size))


def _check_shards(
    store: Store, keys: list[str], plan: Plan | None, expected: Expected, found: Verification
) -> list[CheckedShard]:
    """Check every shard by itself and against the plan. Eight bytes of each row are kept."""
    shards, unrecorded = [], 0
    for key, report in zip(keys, map_ahead(lambda key: check_shard(store, key, expected), keys, _READERS), strict=True):
        found.findings += report.findings
        found.files += 1
        found.rows += len(report.ids)
        found.latents += report.good
        found.as_written += report.as_written
        unrecorded += report.unrecorded
        hashes = np.fromiter(map(hash, report.ids), np.int64, len(report.ids))
        plan_findings = [] if plan is None else against_plan(report, RunLayout.shard_index(key) or 0, plan)
        shards.append(CheckedShard(key, hashes, report.good, not report.findings, plan_findings))
    if unrecorded:
        found.unchecked.append(f"the bytes of {unrecorded} of {len(keys)} files: no checksum of them is recorded")
    return shards


def _settings(metadata: Mapping[str, str]) -> TableSettings:
    try:
        return table_settings(metadata)
    except ValueError:  # check_shard reports that they are damaged; without run.json they are not known otherwise
        return TableSettings.of({})


def _record(store: Store, variants: Variants, found: Verification) -> RunRecord | None:
    uri = store.uri(RunLayout.run_json)
    try:
        record = RunRecord.decode(store.get(RunLayout.run_json), uri)
        variants(record.settings)
        return record
    except ObjectNotFoundError:
        found.findings.append(Finding(uri, None, "it is missing: what the table was made with is not known"))
    except StorageError as error:
        found.findings.append(Finding(uri, None, str(error).removeprefix(f"{uri} ")))
    except ConfigError as error:
        found.findings.append(Finding(uri, None, f"it is damaged ({error})"))
    return None


def _plan(store: Store, record: RunRecord, found: Verification) -> Plan | None:
    uri = store.uri(RunLayout.plan)
    try:
        plan = Plan.load(store, record.shard_size)
        plan.shard_images(0).select(["image_id", "uri"])
        found.planned = len(plan)
        return plan
    except ObjectNotFoundError:
        what = "it is missing: which images were planned is not known"
    except StorageError as error:
        what = " ".join(str(error).removeprefix(f"{uri} ").split())
    except (KeyError, TypeError, ValueError) as error:
        what = f"it is damaged ({' '.join(str(error).split())}): which images were planned is not known"
    found.findings.append(Finding(uri, None, what))
    return None


def _shard_keys(store: Store, found: Verification) -> list[str]:
    keys = []
    for info in store.list(RunLayout.shards_prefix):
        if RunLayout.shard_index(info.key) is None:
            found.findings.append(Finding(store.uri(info.key), None, f"it is not a shard of this table; {NOT_OURS}"))
        else:
            keys.append(info.key)
    return keys


def _any_metadata(store: Store, keys: list[str]) -> dict[str, str]:
    """Return the metadata of the first shard that can be opened; without run.json only they describe the run."""
    for key in keys:
        try:
            with lent_to_arrow(store.open(key)) as source:
                metadata = pq.read_schema(source).metadata or {}
        except (pa.ArrowException, OSError, I2SError):
            continue  # check_shard reports what is wrong with it
        return texts_of(metadata)
    return {}


def _expected(
    record: RunRecord | None,
    metadata: Mapping[str, str],
    variants: Mapping[str, ImageSettings],
    plan: Plan | None,
    check: RowCheck | None,
) -> Expected:
    return Expected(
        metadata=None if record is None else metadata,
        extra_columns=None if plan is None else _extra_columns(plan),
        w_avg=None if check is None else check.generator.w_avg.double().numpy(),
        variants=variants,
        untrained_w_avg=_untrained_w_avg(check),
        loss_weights=None if record is None else record.settings.loss_weights,
        checksum=record is not None and record.checksums == CHECKSUMS,
        facts=NOTHING_EXPECTED if record is None else _expected_facts(record, variants),
    )


def _expected_facts(record: RunRecord, variants: Mapping[str, ImageSettings]) -> ExpectedFacts:
    return ExpectedFacts(
        generator=record.generator.fingerprint,
        run_id=record.run_id if record.merged is None else None,
        fit=None if record.is_edit else record.settings.fit,
        align=record.settings.align,
        box=record.settings.box,
        untrained=frozenset(name for name, settings in variants.items() if settings.untrained),
        merged=record.merged is not None,
    )


def _untrained_w_avg(check: RowCheck | None) -> np.ndarray | None:
    if not isinstance(check, EmbeddedRows) or check.untrained is None:
        return None
    return check.untrained.w_avg.double().numpy()


def _extra_columns(plan: Plan) -> list[pa.Field]:
    """Return the extra columns that an input list, or an edit, adds to the table."""
    return [plan.images.schema.field(name) for name in plan.table_columns if name not in ("image_id", "uri")]


def _check_sample(
    store: Store,
    shards: list[CheckedShard],
    check: RowCheck,
    sample: int,
    found: Verification,
    moves: Sequence[tuple[str, str]],
) -> None:
    """Render rows again, spread evenly over the table; none of files in which something is wrong.

    `moves` say where the source is now, see `output.moved_source`.
    """
    found.within = check.within
    why: list[str] = []
    chosen = _spread([shard for shard in shards if shard.sound], sample, store)
    for key, image_id in chosen:
        row = row_of_shard(store, key, image_id)
        row = replace(row, uri=moved_uri(row.uri, moves))
        result = check.check_with_noise(row, key) if isinstance(check, EmbeddedRows) else check.check(row)
        found.findings += [Finding(store.uri(key), image_id, text) for text in result.differences]
        found.rendered += not result.not_done
        why += [f"{image_id}: {result.not_done}"] if result.not_done else []
    if why:
        found.unchecked.append(f"{len(why)} of {len(chosen)} rows to be rendered again, the first {why[0]}")


def _spread(shards: list[CheckedShard], count: int, store: Store) -> list[tuple[str, str]]:
    """Return file and id of `count` rows with a latent, as evenly spread as possible."""
    stops = np.cumsum([0, *(shard.good for shard in shards)])
    total = int(stops[-1])
    count = min(count, total)
    by_shard: dict[int, list[int]] = {}
    for number in (position * total // count for position in range(count)):
        shard = int(np.searchsorted(stops, number, side="right")) - 1
        by_shard.setdefault(shard, []).append(number - int(stops[shard]))
    chosen = []
    for shard, positions in by_shard.items():
        key = shards[shard].key
        rows = read_shard(store, key, ["image_id", "status"])
        ids = rows["image_id"].filter(pc.equal(rows["status"], STATUS_OK))
        chosen += [(key, str(ids[position].as_py())) for position in positions]
    return chosen
