"""FILE of query, export, convert and neighbours --sheet: links are followed, pipes written through, modes kept."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.numpy import load as load_safetensors

from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from tests.material import scene
from tests.program import PROGRAM, status_of
from tests.runs import embed

SQL = "SELECT image_id, loss FROM latents"
# The name of FILE, the command before it, and what reads it.
CASES: dict[str, tuple[tuple[str, ...], Callable[[bytes], object]]] = {
    "x.csv": (("query", "OUT", SQL, "-o"), lambda data: data.decode().splitlines()[1].startswith("0.png,")),
    "x.json": (("query", "OUT", SQL, "-o"), lambda data: data.startswith(b'[\n{"image_id": "0.png"')),
    "x.parquet": (("query", "OUT", SQL, "-o"), lambda data: pq.read_table(io.BytesIO(data)).num_rows == 2),
    "x.npy": (("export", "OUT"), lambda data: np.load(io.BytesIO(data)).shape == (2, 6, 16)),
    "x.npz": (("export", "OUT"), lambda data: np.load(io.BytesIO(data))["w"].shape == (2, 6, 16)),
    "x.pt": (("export", "OUT"), lambda data: torch.load(io.BytesIO(data), weights_only=True)["w"].shape == (2, 6, 16)),
    "x.safetensors": (("convert", "GENERATOR"), lambda data: "w_avg" in load_safetensors(data)),
    "x.png": (("neighbours", "OUT", "0.png", "--sheet"), lambda data: Image.open(io.BytesIO(data)).format == "PNG"),
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> str:
    folder = tmp_path_factory.mktemp("run")
    (folder / "in").mkdir()
    for number in range(2):
        scene(number, (20, 20)).save(folder / "in" / f"{number}.png")
    config = EmbedRunConfig(embed=EmbedConfig(steps=1), batch_size=2)
    embed(EmbedRunRequest(str(folder / "in"), str(folder / "out"), str(generator), str(vgg), config))
    return str(folder / "out")


def words(name: str, out: str, generator: Path) -> list[str]:
    return [{"OUT": out, "GENERATOR": str(generator)}.get(word, word) for word in CASES[name][0]]


@pytest.mark.parametrize("name", CASES)
def test_a_pipe_and_a_link(tmp_path: Path, out: str, generator: Path, name: str) -> None:
    pipe, link, target = tmp_path / name, tmp_path / f"link-{name}", tmp_path / "target"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert status_of(*words(name, out, generator), pipe) == 0
    reader.join(30)
    assert stat.S_ISFIFO(pipe.lstat().st_mode) and CASES[name][1](read[0])
    target.write_bytes(b"old")
    target.chmod(0o604)
    link.symlink_to("target")
    assert status_of(*words(name, out, generator), link) == 0
    assert link.is_symlink() and stat.S_IMODE(target.stat().st_mode) == 0o604 and CASES[name][1](target.read_bytes())


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_standard_output_by_its_name(out: str, kind: str) -> None:
    command = [str(PROGRAM), "query", out, SQL, "--format", kind, "-o", "/dev/stdout"]
    result = subprocess.run(command, capture_output=True, check=True, timeout=500)
    assert result.stderr == b"" and CASES[f"x.{kind}"][1](result.stdout)


def test_what_fails_leaves_the_old_content(
    tmp_path: Path, out: str, generator: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "g.safetensors").write_bytes(generator.read_bytes())
    for name, command in (
        ("x.csv", ("query", out, "SELECT error('x')", "-o")),
        ("x.parquet", ("query", out, "SELECT error('x')", "-o")),
        ("x.npz", ("export", out, "--where", "lozz > 3")),
        ("x.safetensors", ("convert", tmp_path / "nowhere.pkl")),
    ):
        (tmp_path / name).write_bytes(b"old")
        assert status_of(*command, tmp_path / name) == 2
        assert (tmp_path / name).read_bytes() == b"old"
    for command, message in (
        (("convert", tmp_path / "g.safetensors", f"{tmp_path}/./g.safetensors"), "are the same file"),
        (("convert", generator, "s3://bucket/x.safetensors"), "give a path on this machine"),
        (("query", out, SQL, "-o", f"{out}/summary.json"), "keeps its own files"),
    ):
        capsys.readouterr()
        assert status_of(*command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
