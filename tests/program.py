"""The installed program, as users start it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from i2s_batch.cli import main

PROGRAM = Path(sys.executable).parent / "i2s-batch"


def i2s_batch(*arguments: object, env: dict[str, str] | None = None, **options: object) -> subprocess.CompletedProcess:
    """Run `i2s-batch` to its end."""
    command = [str(PROGRAM), *map(str, arguments)]
    environment = os.environ | (env or {})
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=500, **options)


def refusal(result: subprocess.CompletedProcess) -> str:
    """The one line with which the program refused bad usage or input."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("i2s-batch: ")
    return line


def status_of(*arguments: object) -> int:
    """Run `i2s-batch` in this process, without the seconds that a new one takes to start; its exit status."""
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in arguments])
    return int(left.value.code or 0)


def here(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `i2s-batch` to its end as `i2s_batch` does, but in this process, which has imported what it needs."""
    outputs = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(outputs[0]), redirect_stderr(outputs[1]):
        for name, value in (env or {}).items():
            patched.setenv(name, value)
        status = status_of(*arguments)
    texts = [output.buffer.getvalue().decode() for output in outputs]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(list(map(str, arguments)), status, *texts)


def changed(folder: Path, code: str) -> dict[str, str]:
    """Return an environment in which every Python runs `code` when it starts: the program with a part of it changed."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": str(folder)}
