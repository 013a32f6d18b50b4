"""Checks one shard against what the documentation promises of it. Nothing raises: what is wrong is a finding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from i2s_batch.config import TERMS, ImageSettings, LossWeights
from i2s_batch.errors import StorageError
from i2s_batch.inversion.metrics import psnr
from i2s_batch.maintenance.verification.file_facts import NOTHING_EXPECTED, WITH_FACTS, ExpectedFacts, fact_faults
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.publication import Checksum, recorded_checksums
from i2s_batch.schema.codec import LATENT_LEAF, ROW_GROUP_ROWS, table_schema
from i2s_batch.schema.columns import STATUS_OK, STATUSES, columns_in
from i2s_batch.schema.metadata import schema_version_of
from i2s_batch.storage import Store
from i2s_batch.table.shards import check_ours, latent_shape

SUM_TOLERANCE = 1e-4  # relative, for float32 sums in another order
_WITH_EVALUATIONS = 4  # the schema version that added evaluations and loss_prior
_ROWS_NAMED = 5  # for each kind of fault in a row group


@dataclass(frozen=True)
class Finding:
    """Reports something that is wrong: in which file, in which row (None: in the file as a whole), what."""

    file: str
    row: str | None
    what: str


@dataclass
class ShardReport:
    """Holds what a shard contains, as far as it could be read, and what is wrong with it.

    Attributes:
        file: Where it is.
        ids: The ids of its rows.
        good: Rows that have a latent.
        unread_rows: Rows that could not be read.
        unrecorded: Whether no checksum is recorded, as in the outputs of older programs.
        as_written: Whether its bytes are those that were published.
        findings: What is wrong.
    """

    file: str
    ids: list[str] = field(default_factory=list)
    good: int = 0
    unread_rows: int = 0
    unrecorded: bool = False
    as_written: bool = False
    findings: list[Finding] = field(default_factory=list)

    def add_finding(self, what: str, row: str | None = None) -> None:
        """Add something that is wrong, in a row or in the whole file."""
        self.findings.append(Finding(self.file, row, what))


@dataclass(frozen=True)
class Expected:
    """Holds what a shard must contain. None: not known, so not checked.

    Attributes:
        metadata: Metadata of the file.
        extra_columns: The columns after the documented ones.
        w_avg: The mean latent, [w_dim] or [L, w_dim].
        loss_weights: The loss weights of the run.
        checksum: Whether a checksum of each shard must be recorded.
        variants: Of a study, the settings by variant.
        untrained_w_avg: The mean latent of variants without training.
        facts: What the rows have in common.
    """

    metadata: Mapping[str, str] | None
    extra_columns: list[pa.Field] | None
    w_avg: np.ndarray | None
    loss_weights: LossWeights | None = None
    checksum: bool = False
    variants: Mapping[str, ImageSettings] = field(default_factory=dict)
    untrained_w_avg: np.ndarray | None = None
    facts: ExpectedFacts = NOTHING_EXPECTED

    def loss_weights_of(self, rows: pa.Table) -> np.ndarray | None:
        """Return the loss weights of each row, [N, terms]; None if they are not known."""
        if self.loss_weights is None:
            return None
        variants = self._variants_of(rows)
        weights = [self.loss_weights if variant is None else variant.embed.loss_weights for variant in variants]
        return np.array([[getattr(one, term) for term in TERMS] for one in weights])

    def w_avg_of(self, rows: pa.Table) -> np.ndarray | None:
        """Return the mean latent for the w_distance of each row, [N, L or 1, w_dim]; None if it is not known."""
        if self.w_avg is None:
            return None
        w_avg = np.broadcast_to(self.w_avg, (rows.num_rows, *np.atleast_2d(self.w_avg).shape))
        if self.untrained_w_avg is None:
            return w_avg
        untrained = np.array([variant is not None and variant.untrained for variant in self._variants_of(rows)], bool)
        return np.where(untrained[:, None, None], self.untrained_w_avg, w_avg)

    def _variants_of(self, rows: pa.Table) -> list[ImageSettings | None]:
        named = rows["variant"].to_pylist() if "variant" in rows.column_names else [""] * rows.num_rows
        return [self.variants.get(name or "") for name in named]


def check_shard(store: Store, key: str, expected: Expected) -> ShardReport:
    """Read all of a shard, once: its bytes against the checksum of its publication, each page against its own."""
    report = ShardReport(store.uri(key))
    try:
        data = _checked_bytes(store, key, expected, report)
        with pa.BufferReader(data) as source, pq.ParquetFile(source, page_checksum_verification=True) as file:
            check_ours(file.schema_arrow.metadata or {}, report.file)
            _check_metadata(file, expected, report)
            if _check_schema(file, expected, report):
                _check_rows(file, expected, report)
    except StorageError as error:  # the finding names the file itself
        report.add_finding(str(error).removeprefix(f"{report.file!r} "))
    except (pa.ArrowException, OSError) as error:
        report.add_finding(f"it is damaged ({_one_line(error)}); delete it and run the embed command again")
    return report


def _checked_bytes(store: Store, key: str, expected: Expected, report: ShardReport) -> bytes:
    """Return all of a shard, compared with its recorded checksum; a damaged record hides no damage of the shard."""
    shard = RunLayout.shard_index(key)
    assert shard is not None
    data = store.get(key)
    try:
        recorded = recorded_checksums(store, shard)
    except StorageError as error:
        report.add_finding(str(error))
        return data
    found = Checksum.of(data)
    if recorded and found not in recorded:
        data = store.get(key)  # a driver may have published it again in between
        found = Checksum.of(data)
    report.as_written = found in recorded
    if recorded and not report.as_written:
        was = " or ".join(map(str, recorded))
        report.add_finding(f"its sha256 is {found}; it was written as {was}; delete it and run the embed command again")
    if not recorded and expected.checksum:
        report.add_finding(f"its checksum {store.uri(RunLayout.checksum(shard))!r} is missing")
    report.unrecorded = not recorded and not expected.checksum
    return data


def _check_metadata(file: pq.ParquetFile, expected: Expected, report: ShardReport) -> None:
    metadata = file.schema_arrow.metadata or {}
    found = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in metadata.items()}
    for name, value in (expected.metadata or {}).items():
        if found.get(name) != value:
            report.add_finding(f"its metadata have {name} = {_short(found.get(name))}; run.json has {_short(value)}")


def _check_schema(file: pq.ParquetFile, expected: Expected, report: ShardReport) -> bool:
    """Return whether the documented columns exist, with their types: without them the rows cannot be checked."""
    layers, w_dim = latent_shape(file.schema_arrow)
    found, version = list(file.schema_arrow), schema_version_of(file.schema_arrow.metadata)
    extra_columns = found[len(columns_in(version)) :] if expected.extra_columns is None else expected.extra_columns
    wanted = list(table_schema(layers * w_dim, extra_columns, version))
    for position in range(max(len(found), len(wanted))):
        found_field, wanted_field = (fields[position] if position < len(fields) else None for fields in (found, wanted))
        if (
            found_field is None
            or wanted_field is None
            or (found_field.name, found_field.type) != (wanted_field.name, wanted_field.type)
        ):
            report.add_finding(f"its column {position + 1} is {_field(found_field)}; it must be {_field(wanted_field)}")
            return False
    return True


def _check_rows(file: pq.ParquetFile, expected: Expected, report: ShardReport) -> None:
    last = None
    start = 0
    for number in range(file.num_row_groups):
        count = file.metadata.row_group(number).num_rows
        try:
            rows = file.read_row_group(number, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            report.unread_rows += count
            what = f"its rows {start} to {start + count - 1} are damaged ({_one_line(error)})"
            report.add_finding(f"{what}; delete the file and run the embed command again")
        else:
            # Only after reading: pyarrow aborts the process when it is asked for the name of an unknown codec.
            _check_encoding(file.metadata.row_group(number), f"row group {number}", report)
            version = schema_version_of(file.schema_arrow.metadata)
            facts = fact_faults(rows, expected.facts) if version >= WITH_FACTS else ()
            counts = _count_faults(rows) if version >= _WITH_EVALUATIONS else ()
            for row, what in chain(_row_faults(rows, last, expected), facts, counts):
                report.add_finding(what, row)
            ids = rows["image_id"].to_pylist()
            last = ids[-1] if ids else last
            report.ids += ids
            report.good += pc.sum(_good(rows)).as_py() or 0
        start += count


def _check_encoding(group: Any, where: str, report: ShardReport) -> None:
    """Check the encoding of a row group; `group` is pyarrow's metadata of it."""
    if group.num_rows > ROW_GROUP_ROWS:
        report.add_finding(f"{where} has {group.num_rows} rows; the limit is {ROW_GROUP_ROWS}")
    for chunk in (group.column(position) for position in range(group.num_columns)):
        name = chunk.path_in_schema
        if chunk.compression != "ZSTD":
            report.add_finding(f"{where}: column {name} is compressed by {chunk.compression}, not ZSTD")
        if not chunk.has_offset_index:
            report.add_finding(f"{where}: column {name} has no page index")
        if name == LATENT_LEAF and ("BYTE_STREAM_SPLIT" not in chunk.encodings or chunk.has_dictionary_page):
            report.add_finding(
                f"{where}: column latent is encoded as {', '.join(chunk.encodings)}, not BYTE_STREAM_SPLIT"
            )


def _good(rows: pa.Table) -> Any:
    return pc.and_(pc.fill_null(pc.equal(rows["status"], STATUS_OK), False), pc.is_valid(rows["latent"]))


def _row_faults(rows: pa.Table, last: str | None, expected: Expected) -> Iterator[tuple[str, str]]:
    """Yield (image id, what is wrong with the row) for a row group; `last`: the id before it."""
    ids = rows["image_id"].to_pylist()
    for before, after in zip([last, *ids[:-1]], ids, strict=True):
        if after is None:
            yield "(no id)", "the row has no image_id"
        elif before is not None and after.encode() <= before.encode():
            yield after, f"it comes after {before!r}; rows must be sorted by image_id, each once"
    known = pc.is_in(rows["status"], pa.array(STATUSES))
    yield from _named(ids, ~_mask(known), f"its status is none of {', '.join(STATUSES)}")
    ok, has_latent = _mask(pc.equal(rows["status"], STATUS_OK)), _mask(pc.is_valid(rows["latent"]))
    yield from _named(ids, ok & ~has_latent, "its status is ok, but it has no latent")
    yield from _named(ids, ~ok & has_latent, "its status is not ok, but it has a latent")
    yield from _named(ids, ~ok & ~_mask(pc.is_valid(rows["error"])), "its status is not ok, and it has no error")
    yield from _named(ids, ~(_lengths(rows, "loss_curve") == _lengths(rows, "loss_curve_steps")), "its curve is cut")
    if not has_latent.any():
        return
    with_latent = np.flatnonzero(has_latent)
    latents = rows["latent"].combine_chunks().drop_null().flatten().to_numpy().reshape(len(with_latent), -1)
    finite = np.isfinite(latents).all(axis=1)
    yield from _named([ids[position] for position in with_latent], ~finite, "its latent has values that are not finite")
    for name in ("loss", "w_distance", "mse", "ssim"):
        values = rows[name].to_numpy()[with_latent]
        wrong = _mask(pc.is_valid(rows[name]))[with_latent] & ~np.isfinite(values)
        yield from _named([ids[position] for position in with_latent], wrong, f"its {name} is not finite")
    yield from _figures(rows, with_latent, latents, ids, expected)


def _count_faults(rows: pa.Table) -> Iterator[tuple[str, str]]:
    """Yield rows whose evaluations do not follow from their steps, or whose penalty is no number."""
    ids = rows["image_id"].to_pylist()
    has_steps = _mask(pc.is_valid(rows["steps"])) & _mask(pc.is_valid(rows["loss_curve"]))
    counted = _mask(pc.equal(rows["evaluations"], pc.add(rows["steps"], 1)))
    yield from _named(ids, has_steps & ~counted, "its evaluations are not its steps and one more")
    wrong = _mask(pc.invert(pc.is_finite(rows["loss_prior"])))
    yield from _named(ids, wrong, "its loss_prior is not finite")


def _figures(
    rows: pa.Table, with_latent: np.ndarray, latents: np.ndarray, ids: list[str], expected: Expected
) -> Iterator[tuple[str, str]]:
    """Yield rows whose figures do not follow from their other columns."""
    losses = _losses(rows, expected)[:, with_latent]
    for position in np.flatnonzero(~np.isclose(losses[0], losses[1], rtol=SUM_TOLERANCE, equal_nan=True)):
        yield (
            ids[with_latent[position]],
            f"its loss is {losses[0, position]:.9g}; its terms give {losses[1, position]:.9g}",
        )
    errors, ratios, distances = (rows[name].to_numpy()[with_latent] for name in ("mse", "psnr", "w_distance"))
    measured = _mask(pc.is_valid(rows["mse"]))[with_latent]
    from_mse = np.array([psnr(error) if error >= 0 else np.nan for error in errors.tolist()])
    for position in np.flatnonzero(measured & ~np.isclose(from_mse, ratios, rtol=1e-9)):
        yield ids[with_latent[position]], f"its psnr is {ratios[position]:.9g}; its mse gives {from_mse[position]:.9g}"
    w_avg = expected.w_avg_of(rows.take(pa.array(with_latent)))
    if w_avg is None:
        return
    layers = latents.astype(np.float64).reshape(len(latents), -1, w_avg.shape[-1])
    lengths = np.linalg.norm((layers - w_avg).reshape(len(latents), -1), axis=1)
    known = _mask(pc.is_valid(rows["w_distance"]))[with_latent]
    for position in np.flatnonzero(known & ~np.isclose(lengths, distances, rtol=SUM_TOLERANCE)):
        yield (
            ids[with_latent[position]],
            f"its w_distance is {distances[position]:.9g}; its latent gives {lengths[position]:.9g}",
        )


def _losses(rows: pa.Table, expected: Expected) -> np.ndarray:
    """Return the loss of each row, and the weighted sum of its terms: [2, N]; NaN where there is none (an edit)."""
    losses = rows["loss"].to_numpy()
    weights = expected.loss_weights_of(rows)
    if weights is None:
        return np.stack([losses, losses])
    terms = np.stack([rows[f"loss_{term}"].to_numpy() for term in TERMS], axis=1)
    return np.stack([losses, (terms * weights).sum(axis=1)])


def _lengths(rows: pa.Table, name: str) -> np.ndarray:
    lengths: np.ndarray = pc.fill_null(pc.list_value_length(rows[name]), -1).to_numpy()
    return lengths


def _mask(values: Any) -> np.ndarray:
    """Return values as numpy booleans; null is false."""
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), bool)


def _named(ids: list[str], wrong: np.ndarray, what: str) -> Iterator[tuple[str, str]]:
    """Yield the first rows that are wrong, and how many others there are."""
    positions = np.flatnonzero(wrong)
    for position in positions[:_ROWS_NAMED]:
        more = f" (so are {len(positions) - _ROWS_NAMED} more of its row group)" if len(positions) > _ROWS_NAMED else ""
        yield ids[position], what + more


def _field(column: pa.Field | None) -> str:
    return "missing" if column is None else f"{column.name!r} ({column.type})"


def _short(text: str | None) -> str:
    text = "nothing" if text is None else text
    return text if len(text) <= 60 else f"{text[:57]}..."


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
