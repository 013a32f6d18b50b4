"""Records that hold other values than they should, and the commands that read them."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from i2s_batch.cli import main

CWD = "/proc/self/cwd/"
GENERATOR = ("--generator", f"{CWD}generator.safetensors")
_NETWORKS = (*GENERATOR, "--vgg", f"{CWD}vgg.pth")
_IN_PROCESS = ("--in-process", "--batch-size", "2")
_EXACT = ("--precision", "fp64", "--shard-size")
_LBFGS = ("--space", "z", "--init", "random", "--seed", "7", "--optimizer", "lbfgs")
_EARLY_STOPPING = ("--early-stopping", "0.5", "--patience", "30")
MISSING = object()


def nested(kind: str, depth: int) -> Any:
    """Return lists or objects that hold each other."""
    value: Any = {} if kind == "object" else []
    for _ in range(depth):
        value = {"a": value} if kind == "object" else [value]
    return value


# One of each type, and of each the extremes.
VALUES = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**30, 10**400, 1.5, 1e308),
    *("", "x", "\ud800", "\x00", "../../..", "s3://", "s3://a/b", "ftp://x", "a" * 5000),
    *([], [1], ["a"], [None], [[]], {}, {"a": 1}, nested("list", 900), nested("object", 400), MISSING),
)
# Fields that records of other kinds, or of later versions, have.
ADDED = (
    *(("command",), ("in_process",), ("merged",), ("values",)),
    *(
        ("settings", name)
        for name in ("operation", "study", "sample", "classes", "optimizer", "stop_plateau", "values")
    ),
)


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield where each value is in a JSON value, the whole first."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inside:
        yield from paths(item, (*path, name))


def with_value(record: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """Return a JSON value with another one, or none, at a path."""
    if not path:
        return None if value is MISSING else value
    record = copy.deepcopy(record)
    inner = record
    for name in path[:-1]:
        inner = inner[name]
    if value is not MISSING:
        inner[path[-1]] = value
    elif not isinstance(inner, dict) or path[-1] in inner:
        del inner[path[-1]]
    return record


def resuming(out: str) -> list[str]:
    """Return the command that resumes an output of tests/data/outputs."""
    if out == "finished":
        words = ["embed", f"{CWD}list.csv", out, *_NETWORKS, "--steps", "8", "--shard-size", "3"]
    elif out in ("killed", "s3"):
        words = ["embed", f"{CWD}in", out, *_NETWORKS, "--steps", "40", *_EXACT, "2"]
    elif out == "stopped-lbfgs":
        words = ["embed", f"{CWD}in", out, *_NETWORKS, "--steps", "130", *_LBFGS, *_EARLY_STOPPING, *_EXACT, "2"]
    elif out.startswith("stopped-"):
        steps = "30" if out == "stopped-steps" else "10"
        study = out.removeprefix("stopped-")
        words = ["study", study, f"{CWD}in", out, "--sample", "2", *_NETWORKS, "--steps", steps, *_EXACT, "8"]
    elif out == "morph":
        words = ["edit", "morph", f"{CWD}finished", out, *GENERATOR, "--strengths", "0,0.5,1", "--chain"]
        words += ["--animation", "webp"]
    elif out == "killed-edit":
        words = ["edit", "style", f"{CWD}finished", out, *GENERATOR, "--all-pairs", "--shard-size", "2"]
    else:
        words = ["render", f"{CWD}finished", out, *GENERATOR, "--format", "webp"]
    return [*words, *_IN_PROCESS]


def reading(out: str) -> list[list[str]]:
    """Return commands that read an output and write nothing into its table."""
    image_id = "in/cats/0.png" if out == "finished" else "cats/0.png"
    return [
        ["status", out],
        ["status", out, "--json"],
        ["verify", out, "--sample", "2"],
        ["report", out],
        ["query", out, "SELECT count(*) FROM latents"],
        ["neighbours", out, image_id, "--sheet", "sheet.png"],
        ["neighbours", out, "--image", "in/cats/0.png"],
        ["export", out, "latents.npz"],
        ["merge", out, out, "new"],
        ["render", out, "new", *_IN_PROCESS],
        ["render", out, "new", *GENERATOR, *_IN_PROCESS],
        ["edit", "morph", out, "new", "--chain", "--frames", "2", *_IN_PROCESS],
    ]


@dataclass(frozen=True)
class Answer:
    """How a command ended, and what it wrote to standard output and standard error."""

    status: int
    output: str
    errors: str

    @property
    def line(self) -> str:
        """The last line on standard error."""
        return (self.errors.strip().splitlines() or [""])[-1]


def carry_out(words: list[str]) -> Answer:
    """Run a command in this process."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        pytest.raises(SystemExit) as left,
    ):
        main(words)
    return Answer(int(left.value.code or 0), output.getvalue(), errors.getvalue())


def check_no_fault(words: list[str], damage: str) -> Answer:
    """Run a command and check that it ends in 0, 1, or one clear line and 2."""
    answer = carry_out(words)
    what = f"{' '.join(words)} with {damage}: status {answer.status}: {answer.errors}"
    assert answer.status in (0, 1, 2), what
    assert "Traceback" not in answer.errors, what
    assert answer.status != 2 or answer.line.startswith("i2s-batch: "), what
    return answer


class Files:
    """Puts every file of a folder back as it was."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before = self._now()

    def _now(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self._folder.rglob("*") if path.is_file()}

    def restore(self) -> None:
        """Undo whatever was written or deleted."""
        now = self._now()
        for path in now.keys() - self._before.keys():
            path.unlink()
        for path, data in self._before.items():
            if now.get(path) != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
