"""A Python without Ray, and without what only POSIX systems have, as on Windows: each command works in its process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from i2s_batch.table.shards import read_table
from tests.material import scene
from tests.program import changed, i2s_batch, refusal

NO_RAY = "import sys; sys.modules['ray'] = sys.modules['grpc'] = None\n"  # an import of them is an error
# Carries out commands, one after the other. Libraries are imported first: they have their own ways on Windows, which do
# not work on Linux.
LIKE_WINDOWS = """
import boto3, click, duckdb, fsspec, jinja2, msgspec, numpy, pyarrow.parquet, torch, torch._dynamo, torchvision
import concurrent.futures, ctypes, logging, multiprocessing, os, random, select, shutil, signal, subprocess, tempfile
import collections, threading, json, PIL.Image
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
statvfs, usage = os.statvfs, collections.namedtuple("usage", "total used free")
def disk_usage(path):  # which Windows has, by a call of its own
    found = statvfs(path)
    total, free = (found.f_frsize * blocks for blocks in (found.f_blocks, found.f_bavail))
    return usage(total, total - free, free)
shutil.disk_usage = disk_usage
for name in ("fchmod", "fchown", "fork", "getuid", "geteuid", "sched_getaffinity", "statvfs", "getpgid"):
    delattr(os, name)
for name in ("O_DIRECTORY", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK"):
    delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1"):
    delattr(signal, name)
del select.poll
vars(shutil).update(_use_fd_functions=False)
open_file, load = os.open, ctypes.CDLL
def no_folders(path, *arguments, **options):
    if os.path.isdir(path):
        raise PermissionError(13, "Windows opens no folders", path)
    return open_file(path, *arguments, **options)
def no_main_program(name, *arguments, **options):
    if name is None:
        raise TypeError("LoadLibrary needs a name")
    return load(name, *arguments, **options)
os.open, ctypes.CDLL = no_folders, no_main_program
from i2s_batch.cli import main
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as left:
        assert not left.code, words
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(3):
        scene(number, (40, 40)).save(tmp_path / "in" / f"{number}.png")
    return tmp_path / "in"


def test_every_kind_of_run_and_its_table_without_ray_and_posix(
    source: Path, tmp_path: Path, generator: Path, vgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    out, networks = tmp_path / "out", ["--generator", generator, "--vgg", vgg, "--steps", 2]
    runs = [
        ["embed", source, out, *networks],
        ["render", out, tmp_path / "images"],
        ["study", "init", source, tmp_path / "study", "--sample", 1, *networks],
    ]
    readers = [["status", out], ["query", out, "SELECT image_id, loss FROM latents"], ["verify", out]]
    words = json.dumps([list(map(str, each)) for each in [*runs, *readers]])
    done = subprocess.run(
        [sys.executable, "-c", NO_RAY + LIKE_WINDOWS, words], capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("1 worker on cpu, in this process") == len(runs)
    assert read_table(str(out))["status"].to_pylist() == ["ok"] * 3


def test_what_needs_ray_says_so_where_there_is_none(source: Path, tmp_path: Path, generator: Path, vgg: Path) -> None:
    env = changed(tmp_path / "site", NO_RAY) | {"RAY_ADDRESS": "", "TMPDIR": str(tmp_path)}
    words = ["embed", source, tmp_path / "out", "--generator", generator, "--vgg", vgg, "--steps", 5000]
    line = refusal(i2s_batch(*words, "--actors", 2, env=env))
    assert "need Ray, which is not installed here" in line and "pip install 'ray[default]'" in line
