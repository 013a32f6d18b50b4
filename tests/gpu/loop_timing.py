"""The time, memory and losses of a loop."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from tests.gpu.bench import Bench
from tests.gpu.cases import Case
from tests.gpu.loops import STEPS, Loop
from tests.gpu.operators import lean_operators
from tests.gpu.profiling import record_kernels

MARKS = (0, 10, 50)  # evaluations whose loss is recorded


def loop(bench: Bench, case: Case) -> None:
    """Measure a loop, and record its line; if the case asks for it, its kernels too."""
    built = Loop(bench, case)
    with lean_operators(case.ops, built.lines):
        _measure(bench, case, built)


def _measure(bench: Bench, case: Case, loop: Loop) -> None:
    facts, networks, step = _first_step(bench, loop)
    each = _two_steps(bench, step) / 2
    if bench.cuda:
        torch.cuda.reset_peak_memory_stats()
    times = max(1, min(50, int((0.02 if bench.options.smoke else 0.4) / each)))
    found = bench.timed(step, times)
    facts |= {
        "s_min": min(found) / case.batch,
        "s_median": statistics.median(found) / case.batch,
        "s_image": round(STEPS * min(found) / case.batch, 2),
        "steps_timed": times * len(found),
    }
    if bench.cuda:
        peak = torch.cuda.max_memory_allocated()
        facts |= {"peak_mib_per_image": round((peak - networks) / case.batch / 2**20, 1)}
        facts |= {"networks_mib": networks >> 20, "reserved_mib": torch.cuda.memory_reserved() >> 20}
    facts |= _losses(bench, loop, step, 3 + times * len(found))
    bench.record(case=case.name, **{k: v for k, v in asdict(case).items() if k not in ("name", "kind")}, **facts)
    bench.log(f"{case.name}: {facts['s_image']} s an image, first step {facts['first_step_s']:.1f} s")
    if case.profile:
        record_kernels(bench, case, step)


def _first_step(bench: Bench, loop: Loop) -> tuple[dict[str, Any], int, Callable[[], object]]:
    """Return how long the networks and the first step took, the networks' bytes, and what makes a step."""
    began = time.perf_counter()
    loop.build()
    built = time.perf_counter()
    networks = torch.cuda.memory_allocated() if bench.cuda else 0
    step = loop.step_function()
    step()
    bench.sync()
    first = time.perf_counter() - built
    return {"build_s": round(built - began, 2), "first_step_s": round(first, 2)}, networks, step


def _two_steps(bench: Bench, step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    step()
    bench.sync()
    return time.perf_counter() - began


def _losses(bench: Bench, loop: Loop, step: Callable[[], object], made: int) -> dict[str, Any]:
    """Make steps until the last mark, for some seconds at most; return the losses at the marks."""
    until = time.perf_counter() + (4 if bench.options.smoke else 10)
    while made <= max(MARKS) and time.perf_counter() < until:
        step()
        made += 1
    losses = loop.losses()
    marked = {str(mark): losses[mark] for mark in MARKS if mark < min(made, len(losses))}
    return {"losses": marked, "warning": loop.warning()}
