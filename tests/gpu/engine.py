"""Measure the engine itself on a GPU: its own step programs at full size, a whole embedding with what finishing its
images costs, learned L-BFGS with and without a CUDA graph, the tuning ladder, start-up cold and warm.

    PYTHONUNBUFFERED=1 PYTHONPATH=. python3 tests/gpu/engine.py --seconds 420 --out $OUT

One process a case, in waves of `--beside`: a wave's processes compile side by side, which takes CPUs, and are measured
one after the other when all have compiled, so that nothing disturbs the times. Needs torch, numpy and Pillow only.
Writes OUT/engine.jsonl, a line for each case as soon as it is known, and OUT/kernels.txt, the kernels that take the
time. `--smoke`: tiny networks on a CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

STEPS = 5000  # optimizer steps of an image, for `s_image`


@dataclass(frozen=True)
class Case:
    """One embedder. `compile` None: as the engine chooses; False: plain. `whole`: also embed a batch to the end, in so
    many steps. `graph`: with or without one, whatever the engine chooses. `ladder`: what `--batch-size auto` measures,
    in so many seconds, in place of one embedder."""

    name: str
    family: str = "stylegan1"
    precision: str = "bf16"
    batch: int = 16
    compile: bool | None = None
    whole: int = 0
    profile: bool = False
    optimizer: str = "adam"
    graph: bool | None = None
    ladder: float = 0.0


LEARNED = "lbfgs-learned"
CASES = {
    one.name: one
    for one in (
        Case("sg1 tf32 b16", precision="tf32", profile=True, whole=600),
        Case("sg1 tf32 lbfgs-learned", precision="tf32", optimizer=LEARNED, graph=False),
        Case("sg1 tf32 lbfgs-learned graph", precision="tf32", optimizer=LEARNED, graph=True),
        Case("sg1 fp32 b1 plain", precision="fp32", batch=1, compile=False),
        Case("sg2 tf32 b8", "stylegan2", "tf32", 8, profile=True),
        Case("sg1 tf32 ladder", precision="tf32", ladder=120.0),
        Case("sg1 bf16 b16", profile=True),
        Case("sg2 bf16 b16", "stylegan2", profile=True),
        Case("sg2 fp32 b1 plain", "stylegan2", "fp32", 1, compile=False),
        Case("sg1 tf32 b16 warm", precision="tf32"),  # the compiler's cache is filled: what a second start costs
        Case("sg1 fp32 b8", precision="fp32", batch=8, compile=True),
        Case("sg1 bf16 b1", batch=1),
        Case("sg1 bf16 b32", batch=32),
    )
}


def networks(case: Case, options: argparse.Namespace) -> tuple[Any, Any]:
    """Return untrained networks of official widths."""
    from i2s_batch.inversion.numerics import feature_map_dtype, set_numerics
    from i2s_batch.models import build_generator, build_vgg, random_generator, random_vgg

    small: dict[str, Any] = {"width": 16, "channel_base": 256} if options.smoke else {}
    resolution = 32 if options.smoke else 1024
    dtype, maps = set_numerics(case.precision), feature_map_dtype(case.precision)
    weights = random_generator(case.family, resolution, **small)
    generator = build_generator(weights, options.device, dtype, maps)
    return generator, build_vgg(random_vgg(narrow=16 if options.smoke else 1), options.device, dtype, maps)


def build(case: Case, options: argparse.Namespace) -> Any:
    """Return an embedder with a full batch of drawn images."""
    from i2s_batch.config import EmbedConfig
    from i2s_batch.inversion import Embedder
    from i2s_batch.inversion.step_program import choose_program
    from tests.gpu.materials import image, neutral_learned

    generator, vgg = networks(case, options)
    steps, optimizer = case.whole or STEPS, case.optimizer
    config = EmbedConfig(steps=steps, batch_size=case.batch, compile=case.compile, optimizer=optimizer)
    program = choose_program(config, generator)
    if case.graph is not None:
        program = replace(program, graph=case.graph and program.compiled)
    learned = neutral_learned(generator, vgg) if optimizer == LEARNED else None
    embedder = Embedder(generator, vgg, config, program=program, learned=learned)
    for number in range(case.batch):
        embedder.put(str(number), image(generator.resolution, number))
    return embedder


def climb(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the ladder of step programs as a run with `--batch-size auto` does."""
    from i2s_batch.config import EmbedConfig
    from i2s_batch.inversion.step_program import choose_program
    from i2s_batch.inversion.step_trial import StepTrial
    from i2s_batch.inversion.tuning import Budget, choose, ladder, prior_of

    generator, vgg = networks(case, options)
    config = EmbedConfig(steps=STEPS, compile=case.compile)
    limit = 8 if options.smoke else 1000
    prior = prior_of(choose_program(config, generator), limit)
    with alone(options, case, patience_s=2.0):
        began = time.perf_counter()
        tuning = choose(ladder(prior, limit), StepTrial(generator, vgg, config), Budget(case.ladder), prior)
    trials = [{"step": str(one.candidate), "s": one.seconds, "failure": one.failure} for one in tuning.trials]
    ended = {"chosen": str(tuning.chosen), "ended": tuning.ended, "ladder_s": round(time.perf_counter() - began, 1)}
    return asdict(case) | ended | {"trials": trials}


def advance(embedder: Any, steps: int) -> None:
    """Make so many steps of the whole batch."""
    made = iter(range(1, steps + 1))
    embedder.advance(stop=lambda: next(made) == steps)


def measure(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Time the steps of a case in the stretches that the GPU is ours alone, then perhaps a whole embedding."""
    import torch

    cuda = options.device == "cuda"
    sync = torch.cuda.synchronize if cuda else (lambda: None)
    began = time.perf_counter()
    embedder = build(case, options)
    sync()
    built = time.perf_counter()
    networks = torch.cuda.memory_allocated() if cuda else 0
    advance(embedder, 1)
    sync()
    first = time.perf_counter() - built
    with alone(options, case):
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        advance(embedder, 5)  # the graph is captured here
        sync()
        times, stretch = [], 2 if options.smoke else max(5, int(25 * 8 / max(case.batch, 8)))
        for _ in range(5):
            start = time.perf_counter()
            advance(embedder, stretch)
            sync()
            times.append((time.perf_counter() - start) / stretch / case.batch)
        facts: dict[str, Any] = asdict(case) | {"build_s": round(built - began, 2), "first_step_s": round(first, 2)}
        facts |= {"s_min": min(times), "s_median": statistics.median(times)}
        facts["s_image"] = round(STEPS * statistics.median(times), 3)
        facts |= {"program": str(embedder.slots.program), "warning": embedder.take_warning()}
        losses = embedder.slots.losses(0).double().cpu().tolist()
        facts["losses"] = {str(at): losses[at] for at in (0, 10, 30)}
        if cuda:
            facts |= {
                "device": torch.cuda.get_device_name(),
                "torch": torch.__version__,
                "networks_mib": networks >> 20,
            }
            facts["peak_mib"] = (torch.cuda.max_memory_allocated() - networks) >> 20
            facts["reserved_mib"] = torch.cuda.memory_reserved() >> 20
        if case.profile:
            profile(case, embedder, options)
        if case.whole and not options.smoke:
            facts |= whole(case, embedder, min(times))
    return facts


def whole(case: Case, embedder: Any, step_s: float) -> dict[str, Any]:
    """Go on to the end of every image and tell what finishing them costs beside the steps, metrics apart."""
    done = min(embedder.in_flight.values())
    start = time.perf_counter()
    results = []
    while embedder.in_flight:
        results += embedder.advance()
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    psnr = statistics.mean(float(one.metrics["psnr"] or 0) for one in results)  # computed when they are read
    metrics = time.perf_counter() - start
    return {
        "finish_s_per_image": seconds / case.batch - (case.whole - done) * step_s,
        "metrics_s_per_image": metrics / case.batch,
        "whole_s": round(seconds, 2),
        "whole_steps": case.whole - done,
        "whole_s_per_step_and_image": seconds / (case.whole - done) / case.batch,
        "whole_psnr": psnr,
        "whole_loss": statistics.mean(one.loss for one in results),
    }


def profile(case: Case, embedder: Any, options: argparse.Namespace, steps: int = 3) -> None:
    """Write the kernels of a step by time, in microseconds an image and step."""
    import torch
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    kind = ProfilerActivity.CUDA if options.device == "cuda" else ProfilerActivity.CPU
    with profiler(activities=[kind]) as taken:
        advance(embedder, steps)
        if options.device == "cuda":
            torch.cuda.synchronize()
    totals: dict[str, list[float]] = {}
    for event in taken.events():
        if str(event.device_type).endswith("CUDA") != (options.device == "cuda"):
            continue  # the host's waiting is no kernel
        one = totals.setdefault(event.name, [0, 0.0])
        one[0], one[1] = one[0] + 1, one[1] + event.time_range.elapsed_us()
    rows = sorted(
        ((us / steps / case.batch, count / steps, name) for name, (count, us) in totals.items()), reverse=True
    )
    with Path(options.out, "kernels.txt").open("a") as file:
        file.write(f"\n== {case.name}: {sum(row[0] for row in rows):.1f} us a step and image\n")
        file.writelines(f"{us:9.2f} us {count:6.1f}x {name[:150]}\n" for us, count, name in rows[:40])


@contextlib.contextmanager
def alone(options: argparse.Namespace, case: Case, patience_s: float = 0.0) -> Iterator[None]:
    """Hold the lock under which times are taken, once every process of the wave has compiled or has ended.

    `patience_s`: seconds for which the others may take it first.
    """
    work = Path(options.work)
    (work / f"{case.name}.ready").touch()
    with (work / "lock").open("a") as file:
        while any(not (work / f"{name}.ready").exists() for name in options.wave):
            time.sleep(0.1)
        time.sleep(patience_s)
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def child(options: argparse.Namespace) -> None:
    """Measure one case and write its line, or the line of its error."""
    case = CASES[options.case]
    if options.smoke:
        tiny = {"batch": min(case.batch, 2), "compile": False, "ladder": min(case.ladder, 20.0)}
        case = Case(**asdict(case) | tiny)
    try:
        facts = climb(case, options) if case.ladder else measure(case, options)
    except Exception as error:  # noqa: BLE001 - the other cases must be measured
        facts = {"name": case.name, "error": type(error).__name__, "reason": " ".join(str(error).split())[:500]}
    with Path(options.out, "engine.jsonl").open("a") as file:
        file.write(json.dumps(facts) + "\n")


def main() -> None:
    """Run the cases within the time, then print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.environ.get("OUT") or "engine-out", help="Folder of the results.")
    parser.add_argument("--seconds", type=float, default=420.0, help="Time limit in seconds for everything (420).")
    parser.add_argument("--beside", type=int, default=3, help="Processes of a wave (3).")
    parser.add_argument("--only", nargs="*", default=[], help="Names of cases.")
    parser.add_argument("--smoke", action="store_true", help="Tiny networks on a CPU.")
    parser.add_argument("--case", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--work", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--wave", nargs="*", default=[], help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.device = "cpu" if options.smoke else "cuda"
    if options.case:
        child(options)
        return
    Path(options.out).mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory(prefix="engine-") as work:
        run(options, work, deadline)
    results = Path(options.out, "engine.jsonl")
    print(results.read_text() if results.exists() else "no case was measured within the time", end="")


def run(options: argparse.Namespace, work: str, deadline: float) -> None:
    """Run the cases in their order, a wave after the other, until the time is over."""
    environment = dict(os.environ)
    environment.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(max(1, (os.cpu_count() or 2) // options.beside)))
    waiting = [name for name in CASES if not options.only or name in options.only]
    with Path(options.out, "log.txt").open("ab") as log:
        while waiting and time.monotonic() < deadline:
            wave, waiting = waiting[: options.beside], waiting[options.beside :]
            processes = {}
            for name in wave:
                passed = ["--case", name, "--work", work, "--out", options.out, "--wave", *wave]
                command = [sys.executable, *sys.argv, *passed]
                processes[name] = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            while time.monotonic() < deadline and any(one.poll() is None for one in processes.values()):
                for name, one in processes.items():
                    if one.poll() is not None:
                        Path(work, f"{name}.ready").touch()  # the others need not wait for it
                time.sleep(0.1)
            for one in processes.values():
                one.kill()
                one.wait()


if __name__ == "__main__":
    main()
