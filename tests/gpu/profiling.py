"""The kernels of a step, by the time that they take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from tests.gpu.bench import Bench
from tests.gpu.cases import Case

PROFILES = "profiles.txt"
STEPS = 3
MOST_KERNELS = 25


def record_kernels(bench: Bench, case: Case, step: Callable[[], object]) -> None:
    """Record the kernels of a step as a line of the results and as a table in OUT/profiles.txt."""
    rows = _kernels(bench, step)
    total, launches, per = sum(us for _, _, us in rows), sum(calls for _, calls, _ in rows), STEPS * case.batch
    top = [(name[:160], calls / STEPS, round(us / per, 2)) for name, calls, us in rows[:MOST_KERNELS]]
    facts = {"us_per_step_and_image": round(total / per, 1), "launches_per_step": launches / STEPS}
    bench.record(profile=case.name, **facts, kernels=top)
    head = f"\n== {case.name}: {total / per:.1f} us a step and image, {launches / STEPS:.0f} launches a step\n"
    lines = [f"{us:9.2f} us {100 * us * per / max(total, 1e-9):5.1f} % {n:7.1f}x {name}" for name, n, us in top]
    with Path(bench.options.out, PROFILES).open("a") as file:
        file.write(head + "\n".join(lines) + "\n")


def _kernels(bench: Bench, step: Callable[[], object]) -> list[tuple[str, int, float]]:
    """Return name, calls and microseconds of each kernel (on a CPU: operator) in some steps, slowest first."""
    activities = [ProfilerActivity.CUDA if bench.cuda else ProfilerActivity.CPU]
    with bench.exclusive(), profile(activities=activities) as taken:
        for _ in range(STEPS):
            step()
        bench.sync()
    totals: dict[str, tuple[int, float]] = {}
    for event in taken.events():
        if str(event.device_type).endswith("CUDA") != bench.cuda:
            continue
        us = getattr(event, "device_time_total", 0) if bench.cuda else event.self_cpu_time_total
        if bench.cuda and not us:
            us = event.time_range.elapsed_us()
        calls, so_far = totals.get(event.name, (0, 0.0))
        totals[event.name] = (calls + 1, so_far + us)
    return sorted(((name, calls, us) for name, (calls, us) in totals.items()), key=lambda row: -row[2])
