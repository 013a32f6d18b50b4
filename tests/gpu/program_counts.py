"""Count what a step costs in each step program, at full size on the stand-in for a GPU, beside what was predicted.

    PYTHONPATH=. python tests/gpu/program_counts.py --out OUT

One command: it builds the stand-in (gcc, nm and the headers of CUDA 13 are needed), runs each case in a process of its
own, and prints a table in Markdown for docs/gpu.md. Launches and host syncs are what the stand-in counts in one step of
a full batch, without a CUDA graph, which launches the same kernels. Bytes are those that Inductor's scheduled kernels
read and write (for plain steps: the operands of each operator). Recompilations are counted over a small embedding: an
image takes a slot that has become free, and the last ones are alone.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

STANDIN = Path(__file__).with_name("standin")
BATCH = 4


@dataclass(frozen=True)
class Case:
    """One step program with its predicted launches a step, and GB a step and image (None: not predicted)."""

    name: str
    family: str
    precision: str
    compiled: bool = False
    layout: str = "nchw"
    fused: bool = False
    launches: int | None = None
    gigabytes: float | None = None


# The predictions are those made before any GPU was there: the counts of the operators as they were then.
CASES = (
    Case("plain", "stylegan1", "fp32", launches=428, gigabytes=6.7),
    Case("plain", "stylegan1", "bf16", launches=480, gigabytes=3.9),
    Case("compiled, plain operators", "stylegan1", "bf16", True, launches=264, gigabytes=2.96),
    Case("compiled, fused operators", "stylegan1", "bf16", True, "nhwc", True, 248, 2.34),
    Case("compiled, fused operators", "stylegan1", "tf32", True, "nhwc", True, 244, 4.2),
    Case("plain", "stylegan2", "bf16", launches=966, gigabytes=9.7),
    Case("compiled, plain operators", "stylegan2", "bf16", True, launches=409, gigabytes=5.9),
    Case("compiled, fused operators", "stylegan2", "bf16", True, "nhwc", True, 362, 4.0),
)


def build(case: Case, resolution: int, steps: int) -> Any:
    """Return an embedder for the case, and an image."""
    import numpy as np

    from i2s_batch import EmbedConfig, Embedder
    from i2s_batch.inversion.compiled import CompiledStep
    from i2s_batch.inversion.numerics import feature_map_dtype, set_numerics
    from i2s_batch.inversion.step_program import StepProgram
    from i2s_batch.models import build_generator, build_vgg, random_generator, random_vgg

    CompiledStep.check = lambda *_: None  # type: ignore[method-assign]  # on the stand-in all values are garbage
    dtype, maps = set_numerics(case.precision), feature_map_dtype(case.precision)
    generator = build_generator(random_generator(case.family, resolution), "cuda", dtype, maps)
    vgg = build_vgg(random_vgg(), "cuda", dtype, maps)
    program = StepProgram(case.compiled, False, case.layout, case.fused)
    config = EmbedConfig(steps=steps, batch_size=BATCH)
    image = np.zeros((resolution, resolution, 3), np.uint8)
    return Embedder(generator, vgg, config, program=program), image


def measure(case: Case, resolution: int, out: Path) -> dict[str, Any]:
    """Count a step of a full batch, then the programs that a whole embedding compiles."""
    import torch
    from torch._dynamo.utils import counters as compiler
    from torch._inductor import metrics

    from i2s_batch.bench.traffic import CountedBytes

    counters = ctypes.CDLL("libstandin_cudart.so")
    embedder, image = build(case, resolution, steps=3)
    for number in range(BATCH):
        embedder.put(str(number), image)
    networks = torch.cuda.memory_allocated()
    embedder.advance(stop=lambda: True)
    torch.cuda.reset_peak_memory_stats()
    counters.standin_reset()
    embedder.slots.advance(full=True)
    dump = out / "counters.txt"
    counters.standin_dump(str(dump).encode())
    first = dump.read_text().splitlines()[0].replace("(", "").split()
    totals = dict(zip(first[::2], first[1::2], strict=False))
    peak = torch.cuda.max_memory_allocated() - networks
    moved = metrics.num_bytes_accessed
    if not case.compiled:
        with CountedBytes() as counted:
            embedder.slots.advance(full=True)
        moved = counted.total
    programs = compiler["stats"]["unique_graphs"]
    waiting = iter(range(BATCH, BATCH + 2))
    while embedder.in_flight:
        embedder.advance()
        if embedder.free and (number := next(waiting, None)) is not None:
            embedder.put(str(number), image)
    return {
        "launches": int(totals["launches"]),
        "syncs": int(totals["sync"]),
        "gigabytes": moved / BATCH / 1e9,
        "mib": peak / BATCH / 2**20,
        "recompilations": compiler["stats"]["unique_graphs"] - programs,
        "breaks": sum(compiler["graph_break"].values()),
        "warning": embedder.take_warning(),
    }


def child(options: argparse.Namespace) -> None:
    """Measure one case and print its line of JSON."""
    case = CASES[int(options.case)]
    print(json.dumps(asdict(case) | {"found": measure(case, options.resolution, Path(options.out))}), flush=True)
    os._exit(0)  # PyTorch's threads for the backward pass sometimes abort when Python ends


def table(lines: list[dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    head = "| family | step | launches | predicted | GB a step and image | predicted | MiB an image | host syncs |"
    text = [f"{head} recompilations |", "|" + "---|" * 9]
    for line in lines:
        if "found" not in line:
            text.append(f"| {line['family']} | {line['name']}, {line['precision']} | failed: {line['error']} |")
            continue
        found = line["found"]
        predicted = [str(line[name] or "") for name in ("launches", "gigabytes")]
        text.append(
            f"| {line['family']} | {line['name']}, {line['precision']} | {found['launches']} | {predicted[0]} "
            f"| {found['gigabytes']:.2f} | {predicted[1]} | {found['mib']:.0f} | {found['syncs']} "
            f"| {found['recompilations']} |"
        )
    return "\n".join(text)


def main() -> None:
    """Build the stand-in, run the cases and print the table; OUT/counts.jsonl has all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="program-counts", help="Folder of the results.")
    parser.add_argument("--resolution", type=int, default=1024, help="Side of the images, in pixels (1024).")
    parser.add_argument("--only", type=int, nargs="*", help="Numbers of cases, from 0; all without it.")
    parser.add_argument("--limit", type=float, default=1800.0, help="Seconds after which a case is ended (1800).")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case is not None:
        child(options)
    out = Path(options.out).absolute()
    out.mkdir(parents=True, exist_ok=True)
    libraries = out / "build"
    if not libraries.exists():
        subprocess.run([STANDIN / "build.sh", sys.executable, libraries], check=True)
    environment = os.environ | {"STANDIN_BUILD": str(libraries), "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    environment |= {"TORCH_LOGS": "inductor_metrics"}  # only then are bytes counted
    lines = []
    for number in range(len(CASES)) if options.only is None else options.only:
        passed = ["--case", str(number), "--out", str(out), "--resolution", str(options.resolution)]
        command = [STANDIN / "run.sh", sys.executable, __file__, *passed]
        line: dict[str, Any] = asdict(CASES[number])
        try:
            ended = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=options.limit
            )
            line = json.loads(ended.stdout.splitlines()[-1]) if ended.returncode == 0 else line
            line |= {} if ended.returncode == 0 else {"error": ended.stderr[-300:].replace("\n", " ")}
        except subprocess.TimeoutExpired:
            line |= {"error": f"it took more than {options.limit:.0f} s"}
        lines.append(line)
        with (out / "counts.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), file=sys.stderr, flush=True)
    print(table(lines))


if __name__ == "__main__":
    main()
