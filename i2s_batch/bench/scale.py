"""Measures how time and memory grow with the number of images, for all that a run and its table do but embed.

    python -m i2s_batch.bench.scale FOLDER --rows 10000 100000 --only plan query

Synthetic runs of each size are written into a new folder in FOLDER (removed afterwards), those of --light-rows (whole
shards of 1,000) without latents. Each step is measured in a process of its own: seconds, and the peak of its memory
less what it held after the imports. In `assemble` only the publishing is timed, not the writing of the log. The files
are in the system's cache, as they were just written. The program prints a Markdown table; the last line is JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from i2s_batch.api.verification import verify
from i2s_batch.bench.command_line import parser_of
from i2s_batch.bench.synthetic import SHARD_ROWS, items, record, shard_rows, write_run
from i2s_batch.embedding.update import updated_plan
from i2s_batch.maintenance.merging import merge_runs
from i2s_batch.output.layout import RunLayout
from i2s_batch.output.plan import Plan
from i2s_batch.output.run_state import scan
from i2s_batch.output.work_log import WorkLog
from i2s_batch.run.assembly import Assembler
from i2s_batch.run.failures import count_statuses
from i2s_batch.run.status import read_status
from i2s_batch.schema.codec import table_schema
from i2s_batch.sources.items import sorted_images
from i2s_batch.storage import open_store
from i2s_batch.table.dataset import open_table
from i2s_batch.table.neighbours import find_neighbours
from i2s_batch.table.sql import run_query

Shape = tuple[int, int]
Step = Callable[[str, int, Shape], float]  # seconds


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def make_plan(out: str, rows: int, shape: Shape) -> float:
    """Measure the way from a listing to the saved plan."""
    return _timed(lambda: Plan(sorted_images(items(rows)), SHARD_ROWS).save(open_store(f"{out}-planned")))


def update_plan(out: str, rows: int, shape: Shape) -> float:
    """Measure what `--update` does to the plan when there are one percent more images; their bytes are not compared."""
    more = rows + rows // 100

    def work() -> None:
        updated = updated_plan(Plan.load(open_store(out), SHARD_ROWS), sorted_images(items(more)))
        assert len(updated) == more
        updated.save(open_store(f"{out}-updated"))

    return _timed(work)


def load_plan(out: str, rows: int, shape: Shape) -> float:
    """Measure the loading of the plan, which every command does first."""
    return _timed(lambda: Plan.load(open_store(out), SHARD_ROWS))


def _alone() -> None:
    """Stand in for the check of a lease: no other driver works here."""


def resume(out: str, rows: int, shape: Shape) -> float:
    """Measure what `embed` does with a finished run until it knows that nothing is left to do."""

    def work() -> None:
        store = open_store(out)
        plan, log = Plan.load(store, SHARD_ROWS), WorkLog(store.url, shape[0] * shape[1])
        state = scan(store, plan, log)
        count_statuses(state, Assembler(store, plan, log, {}, _alone), log, plan)
        assert state.remaining_images == 0 and sum(state.statuses.values()) == rows

    return _timed(work)


def status(out: str, rows: int, shape: Shape) -> float:
    """Measure `i2s-batch status`."""

    def work() -> None:
        assert read_status(out, print).done == rows

    return _timed(work)


def assemble(out: str, rows: int, shape: Shape) -> float:
    """Measure the assembly of each shard from its rows in the log: read, put together, published, deleted.

    The log has one file for each image.
    """
    store, stream, size = open_store(f"{out}-assembled"), np.random.default_rng(0), shape[0] * shape[1]
    plan, log = Plan.load(open_store(out), SHARD_ROWS), WorkLog(store.url, size)
    assembler, schema, seconds = (
        Assembler(store, plan, log, record(shape).table_metadata(), _alone),
        table_schema(size),
        0.0,
    )
    for shard in range(plan.shards):
        batches = shard_rows(plan, shard, shape, stream).to_batches(1)
        numbers = plan.shard_range(shard)
        files = {
            RunLayout.row(number): _log_file(batch, schema) for number, batch in zip(numbers, batches, strict=True)
        }
        store.put_all(files)
        del files, batches
        seconds += _timed(partial(assembler.publish, shard, numbers, exists=False))
        store.delete([RunLayout.shard(shard)])
    return seconds


def _log_file(batch: pa.RecordBatch, schema: pa.Schema) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def query(out: str, rows: int, shape: Shape) -> float:
    """Measure an aggregate over the metrics of all rows."""
    return _ask(out, "SELECT psnr_class(psnr), count(*), avg(ssim), avg(w_distance) FROM latents GROUP BY 1")


def query_filtered(out: str, rows: int, shape: Shape) -> float:
    """Measure a query for some columns of a thousandth of the rows, the best first."""
    return _ask(out, "SELECT image_id, psnr FROM latents WHERE ssim > 0.999 ORDER BY psnr DESC")


def _ask(out: str, sql: str) -> float:
    def work() -> None:
        with run_query(open_table(out), sql) as found:
            assert sum(len(batch) for batch in found.batches) > 0

    return _timed(work)


def merge(out: str, rows: int, shape: Shape) -> float:
    """Measure `i2s-batch merge` of the run with itself: every image is in both."""

    def work() -> None:
        assert merge_runs([out, out], f"{out}-merged", print).images == rows

    return _timed(work)


def check(out: str, rows: int, shape: Shape) -> float:
    """Measure `i2s-batch verify` without the generator: neither w_distance nor rendered rows."""

    def work() -> None:
        found = verify(out)
        assert found.sound and found.rows == rows

    return _timed(work)


def neighbours(out: str, rows: int, shape: Shape) -> float:
    """Measure `i2s-batch neighbours`."""
    first = next(items(1))[0]
    return _timed(lambda: find_neighbours(out, first))


LIGHT: dict[str, Step] = {
    "plan": make_plan,
    "update": update_plan,
    "load": load_plan,
    "resume": resume,
    "status": status,
}
STEPS: dict[str, Step] = LIGHT | {
    "assemble": assemble,
    "merge": merge,
    "query": query,
    "filter": query_filtered,
    "verify": check,
    "neighbours": neighbours,
}


def memory_of(name: str) -> int:
    """Return the bytes of VmRSS, what this process holds, or of VmHWM, its peak."""
    match = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024


def _measure(step: str, out: str, rows: int, shape: Shape, results: Connection) -> None:
    """Measure a step in a fresh process, whose peak is reset first: ru_maxrss would hold that of its parent."""
    Path("/proc/self/clear_refs").write_text("5")
    before = memory_of("VmRSS")
    seconds = STEPS[step](out, rows, shape)
    results.send({"seconds": round(seconds, 3), "peak_mb": round((memory_of("VmHWM") - before) / 1e6, 1)})


def measured(step: str, out: str, rows: int, shape: Shape) -> dict[str, float]:
    """Return the seconds and the peak memory of one step."""
    fresh = multiprocessing.get_context("spawn")
    mine, its = fresh.Pipe()
    process = fresh.Process(target=_measure, args=(step, out, rows, shape, its))
    process.start()
    its.close()
    figures: dict[str, float] = mine.recv()
    process.join()
    return figures


def _prepare(out: str, rows: int, shape: Shape, light: bool) -> None:
    """Write the run in a process of its own, whose memory is then given back."""
    process = multiprocessing.get_context("spawn").Process(target=write_run, args=(out, rows, shape, light))
    process.start()
    process.join()
    assert process.exitcode == 0


@dataclass(frozen=True)
class Measurement:
    """Holds the time and the peak of the memory of one step at one size; `light`: of a table without latents."""

    step: str
    rows: int
    light: bool
    seconds: float
    peak_mb: float


def _table(results: list[Measurement]) -> list[str]:
    """Return Markdown: a line a step, a column a size, and the additional bytes per row between the two largest."""
    sizes = sorted({result.rows for result in results})
    lines = ["| step |" + "".join(f" {rows:,} |" for rows in sizes) + " bytes a row more |"]
    lines.append("|---|" + "---|" * (len(sizes) + 1))
    for step in dict.fromkeys(result.step for result in results):
        found = {result.rows: result for result in results if result.step == step}
        cells = [f"{found[n].seconds:.2f} s, {found[n].peak_mb:.0f} MB" if n in found else "" for n in sizes]
        *_, before, last = [None, None, *sorted(found)]
        slope = "" if before is None else f"{1e6 * (found[last].peak_mb - found[before].peak_mb) / (last - before):.0f}"
        lines.append(f"| {step} | " + " | ".join([*cells, slope]) + " |")
    return lines


def main() -> None:
    """Run the command line and print the figures."""
    parser = parser_of("scale", __doc__)
    parser.add_argument("folder", metavar="FOLDER", help="Folder for the runs, which are removed.")
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000], help="Numbers of rows.")
    parser.add_argument("--light-rows", type=int, nargs="*", default=[], help="Numbers of rows without latents.")
    parser.add_argument("--shape", type=int, nargs=2, default=[18, 512], help="Layers and dimension of a latent.")
    parser.add_argument("--only", choices=STEPS, nargs="*", default=list(STEPS), help="Steps that are measured.")
    arguments = parser.parse_args()
    shape, folder = tuple(arguments.shape), Path(arguments.folder)
    results: list[Measurement] = []
    folder.mkdir(parents=True, exist_ok=True)
    for rows, light in [(n, False) for n in arguments.rows] + [(n, True) for n in arguments.light_rows]:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            out = f"{scratch}/{rows}"
            _prepare(out, rows, shape, light)
            for step in LIGHT if light else STEPS:
                if step in arguments.only:
                    one = Measurement(step, rows, light, **measured(step, out, rows, shape))
                    results.append(one)
                    print(f"{step:<12} {rows:>10}  {one.seconds:>9.3f} s  {one.peak_mb:>8.1f} MB", flush=True)
    print("\n".join(_table(results)))
    print(json.dumps({"shape": shape, "results": [asdict(one) for one in results]}))


if __name__ == "__main__":
    main()
