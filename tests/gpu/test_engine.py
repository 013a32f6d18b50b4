"""The engine's measurement on a GPU, tried on a CPU with tiny networks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_two_cases_of_a_wave_are_measured_on_a_cpu(tmp_path: Path) -> None:
    cases = ["sg1 bf16 b1", "sg2 fp32 b1 plain"]
    options = ["--smoke", "--seconds", "300", "--beside", "2", "--out", str(tmp_path), "--only", *cases]
    command = [sys.executable, str(ROOT / "tests/gpu/engine.py"), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert sorted(row["name"] for row in rows) == cases, (tmp_path / "log.txt").read_text()
    for row in rows:
        assert 0 < row["s_min"] <= row["s_median"] and row["losses"]["10"] < row["losses"]["0"]
