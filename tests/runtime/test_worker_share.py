"""How many workers a machine without GPUs gets, and how the threads of one wait."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from i2s_batch.concurrency import passive_waiting
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.run.ray.pool import workers_on
from tests.material import scene

GIB = 1 << 30


@pytest.mark.parametrize(
    ("node", "workers"),
    [
        ({"CPU": 8.0, "memory": 64.0 * GIB}, 8),
        ({"CPU": 8.0, "memory": 5.5 * GIB}, 5),
        ({"CPU": 2.0, "memory": 0.5 * GIB}, 0),
        ({"CPU": 3.0}, 3),  # a node that was started without a limit
        ({"memory": 64.0 * GIB}, 0),  # a head that offers no CPU
    ],
)
def test_a_worker_has_a_core_and_its_memory(node: dict[str, float], workers: int) -> None:
    assert workers_on(node, GIB) == workers


def test_a_worker_needs_more_memory_for_more_images(tmp_path: Path, generator: Path, vgg: Path) -> None:
    scene(1, (24, 24)).save(tmp_path / "a.png")

    def needed(batch_size: int | None) -> int:
        config = EmbedRunConfig(embed=EmbedConfig(steps=1), batch_size=batch_size)
        request = EmbedRunRequest(str(tmp_path / "a.png"), str(tmp_path / "out"), str(generator), str(vgg), config)
        return EmbedRun(request, [].append).worker_bytes

    assert 0.6 * GIB < needed(1) < needed(4) == needed(None) < needed(64)


def test_waiting_threads_sleep_unless_the_user_decides() -> None:
    assert passive_waiting({"PATH": "/bin"}) == {"OMP_WAIT_POLICY": "PASSIVE"}
    for own in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        assert passive_waiting({own: "ACTIVE"}) == {}


@pytest.mark.parametrize(("given", "seen"), [(None, "passive"), ("ACTIVE", "active")])
def test_the_command_line_sets_it_before_pytorch_is_loaded(given: str | None, seen: str) -> None:
    """Python's own `os.environ` would show it even if the library had been loaded before: ask the library."""
    source = (
        "import sys, runpy\n"
        "from i2s_batch.cli import main\n"
        "assert 'torch' not in sys.modules\n"
        "try:\n    main(['inspect', 'no-such-file'])\nexcept SystemExit:\n    pass\n"
        "import torch\n"
    )
    env = os.environ | {"OMP_DISPLAY_ENV": "VERBOSE"}
    env.pop("OMP_WAIT_POLICY", None)
    if given:
        env["OMP_WAIT_POLICY"] = given
    done = subprocess.run([sys.executable, "-c", source], env=env, capture_output=True, text=True, check=True)
    shown = [line for line in done.stderr.splitlines() if "OMP_WAIT_POLICY" in line]
    assert shown and all(f"'{seen.upper()}'" in line for line in shown), done.stderr
