"""Every promise of a run's table, checked: the plan, each file, each row, and a sample rendered again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from i2s_batch.errors import I2SError, ObjectNotFoundError, StorageError
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.models import Generator, build_generator
from i2s_batch.records import STATUS_OK
from i2s_batch.runtime.plan import Plan
from i2s_batch.runtime.run_record import parse_record, table_metadata
from i2s_batch.storage.ahead import map_ahead
from i2s_batch.storage.arrow_files import lent_to_arrow
from i2s_batch.storage.layout import RunLayout
from i2s_batch.storage.objects import Store, open_store
from i2s_batch.storage.read import NOT_OURS, existing_shards, read_shard, row_of_shard
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
    shards = _check_shards(store, keys, plan, promise, found)
    _check_doubles(store, shards, promise, found)
    if plan is not None:
        _check_presence(store, shards, plan, found)
    if network is not None:
        _check_sample(store, shards, network, record, sample, found)
    return found


@dataclass(frozen=True)
class _Checked:
    """What is kept of a shard that was checked. `hashes`: int64, of its rows' ids; `good`: rows with a code; `sound`:
    nothing is wrong with it by itself; `strays`: it against the plan."""

    key: str
    hashes: np.ndarray
    good: int
    sound: bool
    strays: list[Finding]


def _check_shards(
    store: Store, keys: list[str], plan: Plan | None, promise: Promise, found: Verification
) -> list[_Checked]:
    """Every shard by itself and against the plan. Of each row eight bytes are kept."""
    shards = []
    for key, report in zip(keys, map_ahead(lambda key: check_shard(store, key, promise), keys, _READERS), strict=True):
        found.findings += report.findings
        found.files += 1
        found.rows += len(report.ids)
        found.codes += report.good
        hashes = np.fromiter(map(hash, report.ids), np.int64, len(report.ids))
        strays = [] if plan is None else _against_plan(report, RunLayout.shard_index(key) or 0, plan)
        shards.append(_Checked(key, hashes, report.good, not report.findings, strays))
    return shards


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


def _check_doubles(store: Store, shards: list[_Checked], promise: Promise, found: Verification) -> None:
    """No image has rows in two files. Equal hashes are suspects; their files are read once more."""
    hashes = np.sort(np.concatenate([np.unique(shard.hashes) for shard in shards] or [np.empty(0, np.int64)]))
    suspects = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    where: dict[str, str] = {}
    for shard in shards if len(suspects) else ():
        if not np.isin(shard.hashes, suspects).any():
            continue
        report = check_shard(store, shard.key, promise)
        for image_id in dict.fromkeys(report.ids):
            if hash(image_id) in suspects:
                if image_id in where:
                    found.findings.append(Finding(report.file, image_id, f"it has a row in {where[image_id]} too"))
                where.setdefault(image_id, report.file)


def _check_presence(store: Store, shards: list[_Checked], plan: Plan, found: Verification) -> None:
    """Each planned image has its one row, in its shard."""
    strays, ended = {shard.key: shard.strays for shard in shards}, _has_ended(store)
    for shard in range(plan.shards):
        key = RunLayout.shard(shard)
        if key in strays:
            found.findings += strays.pop(key)
        elif ended:
            ids = plan.shard_images(shard)["image_id"]
            what = f"it is missing, with {len(ids)} rows from {ids[0].as_py()!r} to {ids[-1].as_py()!r}"
            found.findings.append(Finding(store.uri(key), None, f"{what}; run the embed command again"))
        else:
            found.missing += len(plan.shard_range(shard))
    for beyond in strays.values():
        found.findings += beyond


def _against_plan(report: ShardReport, shard: int, plan: Plan) -> list[Finding]:
    if shard >= plan.shards:
        return [Finding(report.file, None, f"the plan has only {plan.shards} shards")]
    planned = plan.shard_images(shard)["image_id"].to_pylist()
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
    shards: list[_Checked],
    network: Generator,
    record: dict[str, Any] | None,
    sample: int,
    found: Verification,
) -> None:
    """Render rows again, spread evenly over the table; of files in which something is wrong, none."""
    fit = "crop" if record is None else str(record["settings"].get("fit", "crop"))
    why: list[str] = []
    chosen = _spread([shard for shard in shards if shard.sound], sample, store)
    for key, image_id in chosen:
        row = row_of_shard(store, key, image_id)
        result = rerender(row, network, fit, found.tolerance)
        found.findings += [Finding(store.uri(key), image_id, text) for text in result.differences]
        found.rendered += not result.not_done
        why += [f"{image_id}: {result.not_done}"] if result.not_done else []
    if why:
        found.unchecked.append(f"{len(why)} of {len(chosen)} rows to be rendered again, the first {why[0]}")


def _spread(shards: list[_Checked], count: int, store: Store) -> list[tuple[str, str]]:
    """File and id of `count` rows with a code, as evenly spread as can be."""
    stops = np.cumsum([0, *(shard.good for shard in shards)])
    total = int(stops[-1])
    count = min(count, total)
    by_shard: dict[int, list[int]] = {}
    for number in (place * total // count for place in range(count)):
        shard = int(np.searchsorted(stops, number, side="right")) - 1
        by_shard.setdefault(shard, []).append(number - int(stops[shard]))
    chosen = []
    for shard, places in by_shard.items():
        key = shards[shard].key
        rows = read_shard(store, key, ["image_id", "status"])
        ids = rows["image_id"].filter(pc.equal(rows["status"], STATUS_OK))
        chosen += [(key, str(ids[place].as_py())) for place in places]
    return chosen
