"""Every promise of a run's table, checked: the plan, each file, each row, and a sample rendered again."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from i2s_batch.errors import I2SError, ObjectNotFoundError, StorageError
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.models import Generator, build_generator
from i2s_batch.runtime.plan import Plan
from i2s_batch.runtime.run_record import parse_record, table_metadata
from i2s_batch.storage.arrow_files import lent_to_arrow
from i2s_batch.storage.layout import RunLayout
from i2s_batch.storage.objects import Store, open_store
from i2s_batch.storage.read import NOT_OURS, existing_shards, row_of_shard
from i2s_batch.table.generator import generator_of
from i2s_batch.table.rendering import TOLERANCES, rerender
from i2s_batch.table.shard_checks import Finding, Promise, ShardReport, check_shard

_READERS = 4  # shards at once; of each a row group is in memory


@dataclass
class Verification:
    """What was checked, what is wrong (`findings`), and what could not be checked, and why (`unchecked`).

    `planned`: images of the plan, None if there is none; `missing`: planned images of shards that are not written
    yet, as long as the run has not ended; `rendered`: rows reproduced from their code, within `tolerance`.
    """

    out: str
    planned: int | None = None
    files: int = 0
    rows: int = 0
    codes: int = 0
    missing: int = 0
    rendered: int = 0
    tolerance: float = TOLERANCES["fp32"]
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether the table is whole and nothing is wrong."""
        return not self.findings and not self.missing


def verify(out: str, sample: int = 8, generator: str | None = None) -> Verification:
    """Check the table at `out`. `sample`: rows that are rendered again; `generator`: a path or URL, None for the
    recorded one.

    Faults of the table are findings. Raises StorageError only if there is no output at all, and what `generator`
    raises if it is given and cannot be read or is another.
    """
    store = open_store(out)
    found = Verification(store.url)
    record, plan = _record(store, found), None
    if record is not None:
        plan = _plan(store, record, found)
    keys = _shard_keys(store, found)
    if not keys and record is None:
        existing_shards(store)  # says what there is instead
    network = _network(out, store, keys, record, generator, found)
    promise = Promise(
        metadata=None if record is None else table_metadata(record),
        carried=None if plan is None else _carried(plan),
        w_avg=None if network is None else network.w_avg.double().numpy(),
    )
    with ThreadPoolExecutor(_READERS) as pool:
        checked = pool.map(lambda key: check_shard(store, key, promise), keys)
        reports = dict(zip(keys, checked, strict=True))
    for report in reports.values():
        found.findings += report.findings
    found.files, found.rows = len(reports), sum(len(report.ids) for report in reports.values())
    found.codes = sum(len(report.good_ids) for report in reports.values())
    _check_ids(store, reports, plan, found)
    if network is not None:
        _check_sample(store, reports, network, record, sample, found)
    return found


def _record(store: Store, found: Verification) -> dict[str, Any] | None:
    uri = store.uri(RunLayout.run_json)
    try:
        record = parse_record(store.get(RunLayout.run_json), uri)
        table_metadata(record)
        return record
    except ObjectNotFoundError:
        found.findings.append(Finding(uri, None, "it is missing: what the table was made with is not known"))
    except StorageError as error:
        found.findings.append(Finding(uri, None, str(error).removeprefix(f"{uri} ")))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        found.findings.append(Finding(uri, None, f"it is damaged ({type(error).__name__}: {error})"))
    return None


def _plan(store: Store, record: dict[str, Any], found: Verification) -> Plan | None:
    uri = store.uri(RunLayout.plan)
    try:
        shard_size = int(record["settings"]["shard_size"])
        if shard_size < 1:
            raise ValueError(f"run.json says {shard_size} rows a shard")
        plan = Plan.load(store, shard_size)
        plan.images.select(["image_id", "uri"])
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
            found.findings.append(Finding(store.uri(info.key), None, f"it is no shard of this table; {NOT_OURS}"))
        else:
            keys.append(info.key)
    return keys


def _carried(plan: Plan) -> list[pa.Field]:
    """The columns that an input list, or an edit, carries into the table."""
    return [field for field in plan.images.schema if field.name not in ("image_id", "uri") and field.name[:1] != "_"]


def _network(
    out: str, store: Store, keys: list[str], record: dict[str, Any] | None, given: str | None, found: Verification
) -> Generator | None:
    """The generator, on the CPU, in the precision of the run."""
    made_by = "" if record is None else str(record["generator"]["fingerprint"])
    schema = pa.schema([], metadata={"i2s_batch.generator": made_by}) if made_by else _any_schema(store, keys)
    weights, why_none = None, "without run.json nothing says where the generator is; give it with --generator"
    if record is not None or given is not None:
        weights, why_none = generator_of(out, schema, given)
    if weights is None:
        found.unchecked.append(f"w_distance, and rows rendered again: {why_none}")
        return None
    precision = "fp32" if record is None else str(record["settings"].get("precision", "fp32"))
    found.tolerance = TOLERANCES.get(precision, TOLERANCES["fp32"])
    return build_generator(weights, "cpu", set_numerics("fp64" if precision == "fp64" else "fp32"))


def _any_schema(store: Store, keys: list[str]) -> pa.Schema:
    """Of the first shard that can be opened; without run.json it alone says which generator made the table."""
    for key in keys:
        try:
            with lent_to_arrow(store.open(key)) as source:
                return pq.read_schema(source)
        except (pa.ArrowException, OSError, I2SError):
            continue  # check_shard says what is wrong with it
    return pa.schema([])


def _check_ids(store: Store, reports: dict[str, ShardReport], plan: Plan | None, found: Verification) -> None:
    """Each planned image has its one row, in its shard; no image has two."""
    where: dict[str, str] = {}
    for report in reports.values():
        for image_id in set(report.ids):
            if image_id in where:
                found.findings.append(Finding(report.file, image_id, f"it has a row in {where[image_id]} too"))
            where.setdefault(image_id, report.file)
    if plan is None:
        return

    ended = _has_ended(store)
    for shard in range(plan.shards):
        key, planned = RunLayout.shard(shard), plan.shard_images(shard)["image_id"].to_pylist()
        if key in reports:
            found.findings += _against_plan(reports[key], planned)
        elif ended:
            what = f"it is missing, with {len(planned)} rows from {planned[0]!r} to {planned[-1]!r}"
            found.findings.append(Finding(store.uri(key), None, f"{what}; run the embed command again"))
        else:
            found.missing += len(planned)
    for key, report in reports.items():
        if (RunLayout.shard_index(key) or 0) >= plan.shards:
            found.findings.append(Finding(report.file, None, f"the plan has only {plan.shards} shards"))


def _against_plan(report: ShardReport, planned: list[str]) -> list[Finding]:
    present = set(report.ids)
    lost = [image_id for image_id in planned if image_id not in present]
    findings = [
        Finding(report.file, extra, "it was not planned for this file") for extra in sorted(present - set(planned))
    ]
    # Rows of row groups that could not be read, or of a file that could not, were told of already.
    unread = report.unread_rows or (not report.ids and report.findings)
    return (
        findings if unread else findings + [Finding(report.file, image_id, "its row is missing") for image_id in lost]
    )


def _has_ended(store: Store) -> bool:
    try:
        return bool(json.loads(store.get(RunLayout.summary))["finished"])
    except (ObjectNotFoundError, ValueError, KeyError, TypeError):
        return False


def _check_sample(
    store: Store,
    reports: dict[str, ShardReport],
    network: Generator,
    record: dict[str, Any] | None,
    sample: int,
    found: Verification,
) -> None:
    """Render rows again, spread evenly over the table; of files in which something is wrong, none."""
    files = {i: key for key, report in reports.items() if not report.findings for i in report.good_ids}
    ids = sorted(files)
    if len(ids) > sample:
        ids = [ids[place * len(ids) // sample] for place in range(sample)]
    fit = "crop" if record is None else str(record["settings"].get("fit", "crop"))
    why: list[str] = []
    for image_id in ids:
        row = row_of_shard(store, files[image_id], image_id)
        result = rerender(row, network, fit, found.tolerance)
        found.findings += [Finding(store.uri(files[image_id]), image_id, text) for text in result.differences]
        found.rendered += not result.not_done
        why += [f"{image_id}: {result.not_done}"] if result.not_done else []
    if why:
        found.unchecked.append(f"{len(why)} of {len(ids)} rows to be rendered again, the first {why[0]}")
