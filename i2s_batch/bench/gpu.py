"""Measures everything of the engine's speed that takes a GPU, in one call that needs torch, NumPy and Pillow only.

    python -m i2s_batch.bench.gpu --device cuda --resolution 1024 --batch-size 16 --budget 420

Each case is a process of its own with a limit of its own, so that an error, a crash or a compiler that takes too long
costs that case alone. Each prints a line of JSON as soon as it is measured, and a table ends the output. The loop that
all others are compared with runs in plain float32, whatever their precision. Every loss is compared with that loop's,
before the first update and after --steps updates.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from i2s_batch.bench.command_line import parser_of
from i2s_batch.bench.gpu_case import CHOSEN, COMPILED, EAGER, NOTEBOOK, RATES, Bench, Case
from i2s_batch.bench.loop import check_device
from i2s_batch.config import Json

_POLL_S = 0.1
COMPILED_LIMIT_S = 240.0
# A case is not begun with less time left: no process is up and measured in it.
LEAST_S = 20.0

PROGRAM = ("-c", "from i2s_batch.bench.gpu_case import main; main()")

Line = dict[str, Json]


def cases(batch_size: int, families: Sequence[str]) -> Iterator[Case]:
    """Yield the cases: the machine, what all is compared with, what needs no compiler, and what does."""
    yield Case(RATES)
    for family in families:
        yield Case(NOTEBOOK, family=family)
    for family in families:
        yield Case(CHOSEN, "tf32", batch_size, family, COMPILED_LIMIT_S)
        yield Case(EAGER, "fp32", 8, family)
        yield Case(EAGER, "tf32", 8, family)
        yield Case(EAGER, "bf16", 8, family)
    for family in families:
        yield Case(CHOSEN, "bf16", batch_size, family, COMPILED_LIMIT_S)
        yield Case(COMPILED, "fp32", batch_size, family, COMPILED_LIMIT_S)


@dataclass
class _Running:
    """Holds the process of a case, its output, and when it is ended."""

    case: Case
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    deadline: float

    def line(self, reason: str = "") -> Line:
        """Return the line of a process that has ended; `reason`: why it was ended, empty if it was not."""
        self.output.seek(0)
        written = self.output.read().decode(errors="replace").splitlines()
        self.output.close()
        if written and not reason and self.process.returncode == 0:
            line: Line = json.loads(written[-1])
            return line
        ended = reason or f"its process ended with {self.process.returncode}: {written[-1][:300] if written else ''}"
        return {"case": self.case.name} | asdict(self.case) | {"error": ended}


def run(waiting: list[Case], bench: Bench, beside: int, deadline: float) -> Iterator[Line]:
    """Run the cases in their order, some beside each other, and yield a line for each as it is known."""
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < beside and deadline - time.monotonic() > LEAST_S:
                case = waiting.pop(0)
                running.append(_started(case, bench, min(deadline, time.monotonic() + case.limit_s)))
            if not running:
                break
            time.sleep(_POLL_S)
            for one in list(running):
                if one.process.poll() is None and time.monotonic() < one.deadline:
                    continue
                late = one.process.poll() is None
                if late:
                    one.process.kill()
                    one.process.wait()
                running.remove(one)
                yield one.line("it took too long" if late else "")
    finally:
        for one in running:
            one.process.kill()
            one.process.wait()
            one.output.close()
    for case in waiting:
        yield {"case": case.name} | asdict(case) | {"error": "not begun: the time was over"}


def _started(case: Case, bench: Bench, deadline: float) -> _Running:
    given = json.dumps({"case": asdict(case), "bench": asdict(bench)})
    output = tempfile.TemporaryFile()  # noqa: SIM115 - read and closed when the process has ended
    command = [sys.executable, *PROGRAM, given]
    process = subprocess.Popen(command, stdout=output, stderr=output)
    return _Running(case, process, output, deadline)


def summary(lines: Sequence[Line]) -> str:
    """Return the table: for each family the fastest first, with factors over the plain float32 loop of one image."""
    text = []
    for family in dict.fromkeys(str(line["family"]) for line in lines):
        timed = [line for line in lines if line["family"] == family and "s_min" in line]
        base = next((line for line in timed if line["program"] == NOTEBOOK), None)
        if timed:
            text.append(f"\n{family}: case, ms a step and image, s an image, over plain fp32, losses over its losses")
        for line in sorted(timed, key=lambda line: float(str(line["s_min"]))):
            text.append(_row(line, base))
    return "\n".join(text + [f"failed: {line['case']}: {line['error']}" for line in lines if "error" in line])


def _row(line: Line, base: Line | None) -> str:
    factor, near = "-", ""
    seconds = float(str(line["s_min"]))
    if base is not None:
        factor = f"{float(str(base['s_min'])) / seconds:.2f}x"
        pairs = zip(_numbers(line["losses"]), _numbers(base["losses"]), strict=True)
        near = " ".join(f"{loss / plain:.4f}" for loss, plain in pairs)
    program = f"batch {line['batch_size']}, {line.get('step_program', line['program'])}"
    figures = f"{1000 * seconds:9.3f} {float(str(line['s_image'])):8.2f} {factor:>8}"
    return f"{line['precision']!s:<5} {program:<36} {figures}  {near} {line.get('warning') or ''}"


def _numbers(values: Json) -> list[float]:
    assert isinstance(values, list)
    return [float(str(value)) for value in values]


def main() -> None:
    """Run the command line and print the figures."""
    parser = parser_of("gpu", __doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda", help="Device that is measured.")
    parser.add_argument("--resolution", type=int, default=1024, help="Side of the images, in pixels.")
    parser.add_argument("--width", type=int, default=512, help="Dimension of w.")
    parser.add_argument("--channel-base", type=int, help="Scale of the numbers of channels; none is the official one.")
    parser.add_argument("--batch-size", type=int, default=16, help="Images in a batch of compiled steps.")
    parser.add_argument("--families", nargs="+", default=["stylegan1", "stylegan2"], help="Architectures.")
    parser.add_argument("--steps", type=int, default=50, help="Optimizer steps after which losses are compared.")
    parser.add_argument("--beside", type=int, default=2, help="Cases that start and compile beside each other.")
    parser.add_argument("--budget", type=float, default=420.0, help="Seconds after which everything ends.")
    options = parser.parse_args()
    check_device(options.device)
    begun = time.monotonic()
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="i2s-bench-") as folder:
        lock = str(Path(folder, "lock"))
        network = (options.resolution, options.width, options.channel_base)
        bench = Bench(options.device, *network, options.steps, lock)
        chosen = list(cases(options.batch_size, options.families))
        for line in run(chosen, bench, options.beside, begun + options.budget):
            lines.append(line)
            print(json.dumps(line | {"at_s": round(time.monotonic() - begun, 1)}), flush=True)
    print(summary(lines), flush=True)


if __name__ == "__main__":
    main()
