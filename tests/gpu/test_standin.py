"""The stand-in for a GPU: it builds, PyTorch takes it for a GPU, and the engine steps on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

STANDIN = Path(__file__).with_name("standin")
ROOT = Path(__file__).parents[2]
HEADERS = Path(os.environ.get("CUDA_INC", "/usr/local/cuda-13.0/include"))
CUDNN = Path(torch.__file__).parents[1] / "nvidia/cudnn/include/cudnn_graph.h"

_MISSING = [
    *(f"no {name}" for name in ("gcc", "nm") if shutil.which(name) is None),
    *(f"no {path}" for path in (HEADERS / "cuda.h", CUDNN) if not path.exists()),
    *([] if (torch.version.cuda or "").startswith("13.") else ["torch is not built for CUDA 13"]),
]
pytestmark = pytest.mark.skipif(bool(_MISSING), reason="; ".join(_MISSING))

GRAPH = "sg1 eager graph bf16 b1"
# Steps two images of 32 x 32 with a batch of two, and reports what PyTorch and the stand-in saw.
STEPS = """
import ctypes, json, os, sys
import numpy as np, torch
from i2s_batch import EmbedConfig, Embedder
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.models import build_generator, build_vgg, random_generator, random_vgg

counters = ctypes.CDLL("libstandin_cudart.so")
counters.standin_peak.restype = ctypes.c_size_t
set_numerics("fp32")
generator = build_generator(random_generator("stylegan1", 32, width=16, channel_base=256), torch.device("cuda"))
vgg = build_vgg(random_vgg(narrow=16), torch.device("cuda"))
embedder = Embedder(generator, vgg, EmbedConfig(steps=4, batch_size=2))
for number in range(2):
    embedder.put(str(number), np.zeros((32, 32, 3), np.uint8))
embedder.advance(stop=lambda: True)
counters.standin_reset()
embedder.slots.advance(full=True)
counters.standin_dump(sys.argv[1].encode())
print(json.dumps({"name": torch.cuda.get_device_name(), "capability": torch.cuda.get_device_capability(),
                  "allocated": torch.cuda.max_memory_allocated(), "peak": counters.standin_peak()}), flush=True)
os._exit(0)  # PyTorch's threads for the backward pass sometimes abort when Python ends
"""
FULL = """
import torch
kept = []
try:
    while len(kept) < 64:
        kept.append(torch.empty(100 << 20, dtype=torch.uint8, device="cuda"))
except torch.OutOfMemoryError:
    print(len(kept))
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the libraries for the torch of this Python."""
    folder = tmp_path_factory.mktemp("standin") / "build"
    result = subprocess.run(
        [STANDIN / "build.sh", sys.executable, folder], capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0 and result.stderr == "", result.stderr
    return folder


def run(build: Path, script: str, *arguments: object, **settings: str) -> str:
    """Run a script on the stand-in; its output."""
    environment = os.environ | {"STANDIN_BUILD": str(build), "PYTHONPATH": str(ROOT)} | settings
    command = [STANDIN / "run.sh", sys.executable, "-c", script, *map(str, arguments)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_engine_steps_on_it_and_its_kernels_are_counted(build: Path, tmp_path: Path) -> None:
    dump = tmp_path / "counters.txt"
    found = json.loads(run(build, STEPS, dump))
    assert (found["name"], found["capability"]) == ("Stand-in H200", [9, 0])
    assert 1 << 20 < found["allocated"] <= found["peak"] < 2 << 30
    totals, *lines = dump.read_text().splitlines()
    counts = dict(zip(totals.split()[::2], totals.split()[1::2], strict=False))
    assert int(counts["launches"]) > 100 and int(counts["cudnn"]) > 10 and int(counts["graph"]) == 0
    assert int(counts["sync"]) == 0, "a step does not wait for the device"
    kernels = [line.partition(" ")[2] for line in lines]
    assert any(name.startswith("cudnn8 fprop [2 ") for name in kernels), "convolutions are named with their shapes"
    assert any(name.startswith("cudnn8 dgrad") for name in kernels), "there is a backward pass"
    assert not any(name.startswith("cudnn8 wgrad") for name in kernels), "no weight gets a gradient"


def test_the_probe_measures_on_it_what_a_cpu_cannot(build: Path, tmp_path: Path) -> None:
    environment = os.environ | {"STANDIN_BUILD": str(build), "PYTHONPATH": "."}
    settings = ["--device", "cuda", "--resolution", "32", "--beside", "1", "--out", str(tmp_path)]
    command = [STANDIN / "run.sh", sys.executable, "tests/gpu/probe.py", *settings, "--only", "rates", GRAPH]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(line["case"], line.get("error")) for line in lines] == [("rates", None), (GRAPH, None)]
    assert lines[0]["device"] == "Stand-in H200" and lines[0]["multiprocessors"] == 132
    assert lines[1]["peak_mib_per_image"] > 0 and lines[1]["networks_mib"] > 0


def test_its_memory_has_an_end(build: Path) -> None:
    """Of 1500 MiB the context takes 512; PyTorch takes the blocks as they are."""
    assert run(build, FULL, STANDIN_GPU_MIB="1500") == "9\n"
