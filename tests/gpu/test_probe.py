"""The probe on a CPU, as it is called on a GPU: what its lines hold, and that a case that fails ends nothing."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gpu.cases import JOBS, Case, chosen
from tests.gpu.jobs import PROGRAM
from tests.gpu.loop_timing import MARKS
from tests.gpu.summary import summary

ROOT = Path(__file__).parents[2]
PLAIN, ENGINE, FAILING, AFTER = "sg1 plain fp32 b1", "sg1 eager fp32 b1", "sg1 eager graph bf16 b1", "sg1 plain tf32 b1"
KEYS = {
    *("case", "family", "precision", "batch", "step", "layout", "ops", "graph", "profile", "options", "limit_s"),
    *("build_s", "first_step_s", "s_min", "s_median", "s_image", "steps_timed", "losses", "warning", "at_s"),
}


def probe(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the probe as its docstring says."""
    command = [sys.executable, str(PROGRAM.relative_to(ROOT)), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": "."}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=400)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Measure the plain loop and the engine, a case that no CPU can do, and another; return OUT and the output."""
    out = tmp_path_factory.mktemp("probe") / "out"
    result = probe("--smoke", "--out", out, "--only", PLAIN, ENGINE, FAILING, AFTER)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    return out, result.stdout


def lines_of(out: Path) -> dict[str, dict]:
    """Read the results by the names of their cases."""
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert len({line["case"] for line in lines}) == len(lines)
    return {line["case"]: line for line in lines}


def test_the_engine_agrees_with_the_plain_loop(run: tuple[Path, str]) -> None:
    lines = lines_of(run[0])
    for name in (PLAIN, ENGINE):
        line = lines[name]
        assert line.keys() == KEYS
        for key in ("build_s", "first_step_s", "s_min", "s_median", "s_image"):
            assert math.isfinite(line[key]) and line[key] >= 0, key
        assert 0 < line["s_min"] <= line["s_median"]
        losses = [
            line["losses"][str(mark)] for mark in MARKS if str(mark) in line["losses"]
        ]  # as many as there was time
        assert len(losses) > 1 and all(math.isfinite(loss) for loss in losses)
        assert losses == sorted(losses, reverse=True) and losses[-1] > 0
    plain, engine = (lines[name]["losses"] for name in (PLAIN, ENGINE))
    for mark in plain.keys() & engine.keys():
        assert engine[mark] == pytest.approx(plain[mark], rel=1e-3)


def test_a_case_that_fails_is_a_line_and_the_next_one_runs(run: tuple[Path, str]) -> None:
    out, printed = run
    lines = lines_of(out)
    assert list(lines) == [PLAIN, ENGINE, FAILING, AFTER]
    assert lines[FAILING].keys() == {"case", "error", "reason", "at_s"}
    assert (lines[FAILING]["error"], lines[FAILING]["reason"]) == ("NotImplementedError", "a CPU has no CUDA graphs")
    assert "error" not in lines[AFTER] and lines[AFTER]["s_min"] > 0
    assert f"{FAILING} failed" in (out / "log.txt").read_text()
    assert (
        printed.strip("\n") == (out / "summary.txt").read_text().strip("\n") == summary([*lines.values()]).strip("\n")
    )
    assert f"failed: {FAILING}: NotImplementedError a CPU has no CUDA graphs" in printed


def test_a_case_that_outlasts_its_limit_is_killed_and_the_next_one_is_tried(tmp_path: Path) -> None:
    result = probe("--smoke", "--out", tmp_path, "--patience", "0.001", "--only", PLAIN, ENGINE)
    assert result.returncode == 0, result.stderr
    lines = lines_of(tmp_path)
    assert list(lines) == [PLAIN, ENGINE], "each in a process of its own, neither of which had the time to start"
    for line in lines.values():
        assert (line["error"], line["reason"]) == ("ended", "killed: it took too long")


def test_it_needs_torch_numpy_and_pillow_only() -> None:
    """The machine with the GPU has nothing else."""
    modules = [f"tests.gpu.{path.stem}" for path in PROGRAM.parent.glob("*.py") if not path.stem.startswith("test_")]
    script = f"import sys, {', '.join(modules)}; from i2s_batch.models import build_generator; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    loaded = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout.split()
    assert "torch" in loaded and not {"pyarrow", "ray", "boto3", "pytest", "duckdb", "pandas"} & set(loaded)


def test_every_case_has_a_name_of_its_own_and_can_be_chosen() -> None:
    cases = [case for ones in JOBS.values() for case in ones]
    assert len({case.name for case in cases}) == len(cases) == 43
    assert chosen((), smoke=False) == cases and chosen((), smoke=False, job="kernels") == JOBS["kernels"]
    assert [case.name for case in chosen(("own conv", "stencil"), smoke=False)] == [
        *("sg1 aot nhwc stencil bf16 b16", "own convolution", "sg2 aot nhwc stencil bf16 b8"),
    ]
    assert max(case.batch for case in chosen((), smoke=True)) == 2
    assert probe("--list").stdout.splitlines() == [f"{job}: {case.name}" for job, ones in JOBS.items() for case in ones]
    assert Case("x").kind == "loop"
