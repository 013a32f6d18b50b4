"""The engine's measurement on a GPU, tried on a CPU with tiny networks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_cases_of_a_wave_are_measured_on_a_cpu(tmp_path: Path) -> None:
    cases = ["sg1 tf32 ladder", "sg1 tf32 lbfgs-learned graph"]
    options = ["--smoke", "--seconds", "300", "--beside", "2", "--out", str(tmp_path), "--only", *cases]
    command = [sys.executable, str(ROOT / "tests/gpu/engine.py"), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    rows = {row["name"]: row for row in map(json.loads, ended.stdout.splitlines())}
    assert sorted(rows) == cases, (tmp_path / "log.txt").read_text()
    ladder, step = (rows[name] for name in cases)
    assert ladder["trials"][0]["step"] == "plain, batch 1" and ladder["trials"][0]["s"] > 0, ladder
    assert ladder["chosen"].startswith("plain, batch ")
    assert 0 < step["s_min"] <= step["s_median"] and step["losses"]["10"] < step["losses"]["0"]
