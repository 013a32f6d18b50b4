"""The GPU bench on a CPU: what a case measures, and what becomes of cases that fail."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from i2s_batch.bench import gpu, gpu_case
from i2s_batch.bench.gpu_case import CHOSEN, COMPILED, EAGER, NOTEBOOK, RATES, Bench, Case
from i2s_batch.inversion.slots import Slots
from i2s_batch.models import random_vgg


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(gpu_case, "drawn_vgg", lambda: random_vgg(narrow=16))
    monkeypatch.setattr(gpu_case, "STRETCHES", 2)
    return Bench("cpu", 16, 8, 64, 6, str(tmp_path / "lock"))


def test_every_case_starts_from_the_losses_of_the_float32_loop(bench: Bench) -> None:
    lines = [
        gpu_case.measure(case, bench)
        for case in (Case(NOTEBOOK), Case(EAGER, "fp32", 2), Case(CHOSEN, "tf32", 1), Case(EAGER, "bf16", 2))
    ]
    plain, *others = lines
    for line, tolerance in zip(others, (1e-4, 1e-4, 0.05), strict=True):
        assert line["losses"] == pytest.approx(plain["losses"], rel=tolerance)
        assert 0 < line["s_min"] <= line["s_median"] and line["s_image"] == 5000 * line["s_min"]
        assert line["warning"] == "" and line["step_program"] == "plain"
    assert [line["batch_size"] for line in lines] == [1, 2, 1, 2]
    table = gpu.summary([{"case": "x", "family": "stylegan1", "program": EAGER, "precision": "bf16"} | others[2]])
    assert "batch 2, plain" in table
    rows = [
        {"case": case.name, "family": "stylegan1", "program": case.program, "precision": case.precision} | line
        for case, line in ((Case(NOTEBOOK), plain), (Case(EAGER, "fp32", 2), others[0]))
    ]
    factor = plain["s_min"] / others[0]["s_min"]
    assert f"{factor:.2f}x  1.0000" in gpu.summary(rows), "each is compared with the loop in plain float32"


def test_products_are_measured_in_the_dtype_of_each_precision(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    dtypes: list[torch.dtype] = []

    def rate(like: torch.Tensor) -> float:
        dtypes.append(like.dtype)
        return 1.0

    monkeypatch.setattr(gpu_case, "matrix_rate", rate)
    monkeypatch.setattr(gpu_case, "memory_rate", lambda device: 2.0)
    line = gpu_case.measure(Case(RATES), bench)
    assert dtypes == [torch.float32, torch.float32, torch.bfloat16]
    assert line["memory_bytes_per_s"] == 2.0 and line["matrix_bf16_flop_per_s"] == 1.0


def test_a_batch_that_was_halved_is_reported_under_its_size(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = Slots.advance

    def full(self: Slots, full: bool = True) -> None:
        if self.size > 2:
            raise torch.OutOfMemoryError("scripted")
        advance(self, full)

    monkeypatch.setattr(Slots, "advance", full)
    assert gpu_case.measure(Case(EAGER, "fp32", 4), bench)["batch_size"] == 2


# What stands for a case's process: it does what its family says.
CASE = """
import json, os, sys, time
family = json.loads(sys.argv[1])["case"]["family"]
if family == "sleeps":
    time.sleep(60)
if family == "dies":
    os.kill(os.getpid(), 9)
if family == "raises":
    raise MemoryError("scripted")
print("a library writes something")
print(json.dumps({"case": family, "family": family, "s_min": 1.0}))
"""


def test_a_case_that_fails_costs_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "PROGRAM", ("-c", CASE))
    families = ("sleeps", "dies", "raises", "works", "works")
    waiting = [Case(EAGER, family=family, limit_s=2.0 if family == "sleeps" else 60.0) for family in families]
    lines = list(gpu.run(waiting, bench, beside=2, deadline=time.monotonic() + 90))
    assert len(lines) == 5
    found = {str(line["family"]): str(line.get("error", "")) for line in lines}
    assert found["works"] == "" and found["sleeps"] == "it took too long"
    assert "ended with -9" in found["dies"]
    assert "ended with 1" in found["raises"] and "MemoryError: scripted" in found["raises"]
    assert gpu.summary([]) == ""


def test_cases_without_time_are_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "PROGRAM", ("-c", CASE))
    (line,) = gpu.run([Case(EAGER, family="works")], bench, beside=2, deadline=time.monotonic())
    assert line["error"] == "not begun: the time was over"
    assert "failed: works fp32 eager 1: not begun" in gpu.summary([line])


def test_what_needs_no_compiler_and_what_all_is_compared_with_come_early() -> None:
    cases = list(gpu.cases(16, ["stylegan1", "stylegan2"]))
    assert [case.program for case in cases[:3]] == [RATES, NOTEBOOK, NOTEBOOK]
    assert len({case.name for case in cases}) == len(cases)
    assert {case.precision for case in cases if case.program == EAGER} == {"fp32", "tf32", "bf16"}
    assert cases[-1] == replace(cases[-1], program=COMPILED, precision="fp32")
