"""What the probe measures: cases, and the jobs (processes) that measure them one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Case:
    """One measurement.

    `kind`: a key of `measurements.MEASUREMENTS`. The other fields belong to loops. `step`: plain (a notebook's loop),
    product (the engine's), compiled (the engine's --compile), aot (the objective compiled with its backward pass apart,
    and the update too). `ops`: product, lean or stencil (`operators.lean_operators`). `graph`: the step as one CUDA
    graph. `profile`: list the kernels, too. `options`: of the compiler. `limit_s`: when the case is given up.
    """

    name: str
    kind: str = "loop"
    family: str = "stylegan1"
    precision: str = "fp32"
    batch: int = 1
    step: str = "product"
    layout: str = "nchw"
    ops: str = "product"
    graph: bool = False
    profile: bool = False
    options: tuple[tuple[str, Any], ...] = ()
    limit_s: float = 60.0


def c(name: str, **fields: Any) -> Case:
    """Return a case: short, for the table."""
    return Case(name, **fields)


BF = {"precision": "bf16"}
NHWC = {"layout": "nhwc", "ops": "lean", "step": "aot"}
STENCIL = NHWC | {"ops": "stencil"}
SG2, SG3 = {"family": "stylegan2"}, {"family": "stylegan3"}
LONG = {"limit_s": 240.0}

# In the order in which they are started: the most informative ones first. `eager` runs beside the jobs that compile.
JOBS: dict[str, list[Case]] = {
    "eager": [
        c("rates", kind="rates"),
        c("sg1 plain fp32 b1", step="plain"),
        c("sg1 eager bf16 b8", **BF, batch=8, profile=True),
        c("convolutions", kind="convolutions", limit_s=90.0),
        c("sg1 eager fp32 b1"),
        c("sg1 eager fp64 b1", precision="fp64"),
        c("sg2 plain fp32 b1", **SG2, step="plain"),
        c("sg2 eager bf16 b8", **SG2, **BF, batch=8, profile=True),
        c("sg1 eager bf16 b1", **BF),
        c("sg1 eager graph bf16 b1", **BF, graph=True),
        c("sg1 eager bf16 b16", **BF, batch=16),
        c("sg1 eager tf32 b8", precision="tf32", batch=8),
        c("sg1 eager nhwc bf16 b8", **BF, batch=8, layout="nhwc", ops="lean"),
        c("sg2 eager nhwc bf16 b8", **SG2, **BF, batch=8, layout="nhwc"),
        c("sg1 plain tf32 b1", precision="tf32", step="plain"),
        c("sg1 eager graph bf16 b8", **BF, batch=8, graph=True),
        c("sg1 eager fp32 b8", batch=8, profile=True),
        c("sg1 eager bf16 b4", **BF, batch=4),
        c("sg1 eager bf16 b32", **BF, batch=32),
        c("sg2 eager fp32 b1", **SG2),
        c("sg2 eager tf32 b8", **SG2, precision="tf32", batch=8),
        c("sg2 eager bf16 b1", **SG2, **BF),
        c("sg3 eager bf16 b1", **SG3, **BF, profile=True),
        c("sg3 eager fp32 b1", **SG3),
        c("sg1 eager tf32 b1", precision="tf32"),
        c("sg2 eager bf16 b16", **SG2, **BF, batch=16),
    ],
    "sg1 lean": [
        c("sg1 aot nhwc lean bf16 b16", **BF, **NHWC, **LONG, batch=16, profile=True),
        c("sg1 aot nhwc lean graph bf16 b16", **BF, **NHWC, **LONG, batch=16, graph=True),
    ],
    "sg1 one": [
        c(
            "sg1 compiled nhwc lean bf16 b16",
            **BF,
            **LONG,
            step="compiled",
            layout="nhwc",
            ops="lean",
            batch=16,
            profile=True,
        )
    ],
    "sg1 own": [c("sg1 compiled bf16 b8", **BF, **LONG, step="compiled", batch=8, profile=True)],
    "sg2 nhwc": [
        c("sg2 aot nhwc bf16 b8", **SG2, **BF, **LONG, step="aot", layout="nhwc", batch=8, profile=True),
        c("sg2 aot nhwc graph bf16 b8", **SG2, **BF, **LONG, step="aot", layout="nhwc", batch=8, graph=True),
    ],
    "sg1 stencil": [c("sg1 aot nhwc stencil bf16 b16", **BF, **STENCIL, **LONG, batch=16, profile=True)],
    "kernels": [c("own convolution", kind="own_convolution", limit_s=150.0)],
    "sg2 stencil": [c("sg2 aot nhwc stencil bf16 b8", **SG2, **BF, **STENCIL, **LONG, batch=8, profile=True)],
    "sg1 lean b1": [
        c("sg1 aot nhwc lean bf16 b1", **BF, **NHWC, **LONG),
        c("sg1 aot nhwc lean graph bf16 b1", **BF, **NHWC, **LONG, graph=True),
    ],
    "sg1 lean b32": [
        c("sg1 aot nhwc lean bf16 b32", **BF, **NHWC, **LONG, batch=32),
        c("sg1 aot nhwc lean graph bf16 b8", **BF, **NHWC, **LONG, batch=8, graph=True),
    ],
    "sg1 lean tf32": [c("sg1 aot nhwc lean tf32 b8", **NHWC, **LONG, precision="tf32", batch=8)],
    "sg2 own": [c("sg2 compiled bf16 b8", **SG2, **BF, **LONG, step="compiled", batch=8)],
    "sg1 nchw": [c("sg1 aot bf16 b8", **BF, **LONG, step="aot", batch=8)],
    "sg1 own tf32": [c("sg1 compiled tf32 b8", **LONG, precision="tf32", step="compiled", batch=8)],
}


def smaller(case: Case) -> Case:
    """Return what a CPU can do of a case in seconds."""
    return replace(case, batch=min(case.batch, 2), limit_s=max(case.limit_s, 300.0))


def chosen(only: Sequence[str], smoke: bool, job: str | None = None) -> list[Case]:
    """Return the cases of a job, or of all jobs, whose names contain one of `only`; all if that is empty."""
    cases = [case for name, ones in JOBS.items() if job in (None, name) for case in ones]
    wanted = [case for case in cases if not only or any(part in case.name for part in only)]
    return [smaller(case) for case in wanted] if smoke else wanted
