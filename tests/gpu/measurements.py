"""A process of the probe: measures the cases of one job, one after the other."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Callable

import torch

from tests.gpu.bench import Bench, Options
from tests.gpu.cases import Case, chosen
from tests.gpu.convolutions import convolutions
from tests.gpu.loop_timing import loop
from tests.gpu.marks import END_LIMIT_S, mark
from tests.gpu.own_kernel import own_convolution
from tests.gpu.rates import rates

MEASUREMENTS: dict[str, Callable[[Bench, Case], None]] = {
    "loop": loop,
    "rates": rates,
    "convolutions": convolutions,
    "own_convolution": own_convolution,
}
DEVICE_LOST = 3  # exit status


def measure(options: Options, job: str, first: int) -> None:
    """Measure the cases of a job from number `first` on. A case that fails is a line with `error`."""
    if job != "eager" and not options.smoke:
        os.nice(5)
    bench = Bench(options)
    cases = chosen(options.only, options.smoke, job)
    for number, case in enumerate(cases[first:], first):
        mark(options, job, number, case.limit_s)
        try:
            MEASUREMENTS[case.kind](bench, case)
        except Exception as error:  # noqa: BLE001 - every case must be tried
            bench.record(case=case.name, error=type(error).__name__, reason=" ".join(str(error).split())[:600])
            bench.log(f"{case.name} failed\n{traceback.format_exc()[-3000:]}")
            if bench.cuda and "CUDA error" in str(error):
                sys.exit(DEVICE_LOST)  # nothing works in this process any more
        _forget(bench)
    mark(options, job, len(cases), END_LIMIT_S)


def _forget(bench: Bench) -> None:
    """Free what a case has left behind."""
    gc.collect()
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()
    if bench.cuda:
        torch.cuda.empty_cache()
