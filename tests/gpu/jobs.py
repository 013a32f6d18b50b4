"""The parent of the probe: starts jobs, several side by side, and ends those that outlast their limits."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from tests.gpu.bench import RESULTS, Options, record
from tests.gpu.cases import JOBS, chosen
from tests.gpu.marks import START_LIMIT_S, mark, read_mark

PROGRAM = Path(__file__).with_name("probe.py")
POLL_S = 0.3
# Seconds that must be left for a job to be started, for its remaining cases, and for `i2s_batch.bench.gpu` at the end.
LEFT_FOR_JOB_S, LEFT_FOR_CASES_S, LEFT_FOR_BENCH_S = 45.0, 20.0, 100.0


@dataclass
class Running:
    """A process that measures the cases of a job."""

    job: str
    process: subprocess.Popen[bytes]


def run_jobs(options: Options) -> None:
    """Run every job that has a chosen case, until the time is over."""
    deadline = options.began + options.seconds
    with Path(options.out, "log.txt").open("ab") as log:
        drawing = _draw_networks(options)
        waiting = _run(options, [job for job in JOBS if chosen(options.only, options.smoke, job)], log)
        for job in waiting:
            record(options, job=job, error="not begun: the time was over")
        drawing.join()
        left = deadline - time.time()
        if left > LEFT_FOR_BENCH_S and not options.only and not options.smoke:
            _bench_gpu(options, left, log)


def _draw_networks(options: Options) -> threading.Thread:
    """Draw the networks beside the jobs, which wait for what they need."""
    from tests.gpu.materials import draw_networks

    families = [case.family for case in chosen(options.only, options.smoke)]
    drawing = threading.Thread(target=draw_networks, args=(options, families), daemon=True)
    drawing.start()
    return drawing


def _run(options: Options, waiting: Sequence[str], log: BinaryIO) -> list[str]:
    """Run jobs side by side, in their order; return those that were never started."""
    waiting, deadline = list(waiting), options.began + options.seconds
    running: list[Running] = []
    while (waiting or running) and time.time() < deadline:
        while waiting and len(running) < options.beside and deadline - time.time() > LEFT_FOR_JOB_S:
            running.append(_start(options, waiting.pop(0), 0, log))
        time.sleep(POLL_S)
        running = [new for one in running if (new := _watched(options, one, log)) is not None]
        if not running and waiting and deadline - time.time() <= LEFT_FOR_JOB_S:
            break
    for one in running:
        one.process.kill()
    for one in running:
        one.process.wait()
    return waiting


def _start(options: Options, job: str, first: int, log: BinaryIO) -> Running:
    mark(options, job, first, START_LIMIT_S)
    passed = json.dumps({"options": asdict(options), "job": job, "first": first})
    environment = dict(os.environ)
    environment.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(max(1, (os.cpu_count() or 2) // 4)))
    environment.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(options.work, "inductor")))
    if options.smoke and job == "kernels":
        environment["TRITON_INTERPRET"] = "1"
    command = [sys.executable, str(PROGRAM), "--child", passed]
    return Running(job, subprocess.Popen(command, stdout=log, stderr=log, env=environment))


def _watched(options: Options, one: Running, log: BinaryIO) -> Running | None:
    """Return what has become of a job: itself, a new process for its remaining cases, or None when it is through."""
    number, deadline = read_mark(options, one.job)
    if one.process.poll() is None:
        if time.time() < deadline:
            return one
        one.process.kill()
        one.process.wait()
        reason = "killed: it took too long"
    elif one.process.returncode == 0:
        return None
    else:
        reason = f"its process ended with {one.process.returncode}"
    cases = chosen(options.only, options.smoke, one.job)
    if number >= len(cases):
        return None
    record(options, case=cases[number].name, error="ended", reason=reason)
    left = options.began + options.seconds - time.time()
    more = number + 1 < len(cases) and left > LEFT_FOR_CASES_S
    return _start(options, one.job, number + 1, log) if more else None


def _bench_gpu(options: Options, left: float, log: BinaryIO) -> None:
    """Let the project's own benchmark use the time that is left."""
    budget = ["--budget", str(int(left - 15)), "--beside", "4"]
    command = [sys.executable, "-m", "i2s_batch.bench.gpu", "--device", options.device, *budget]
    with contextlib.suppress(subprocess.TimeoutExpired), Path(options.out, "bench_gpu.txt").open("wb") as output:
        subprocess.run(command, stdout=output, stderr=log, timeout=left - 5, check=False)


def read_results(out: str) -> list[dict]:
    """Return the lines of a probe's results."""
    return [json.loads(line) for line in Path(out, RESULTS).read_text().splitlines()]
