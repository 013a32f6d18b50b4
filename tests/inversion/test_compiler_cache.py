"""One worker of a machine compiles, the others wait for it and then find what it has compiled."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from i2s_batch.inversion import compiler_cache
from i2s_batch.inversion.compiler_cache import after_the_first_compiler


def test_others_wait_for_the_first_and_then_compile_together(tmp_path: Path) -> None:
    done = False
    together = threading.Barrier(3, timeout=60)
    seen: list[bool] = []

    def another() -> None:
        with after_the_first_compiler(tmp_path):
            seen.append(done)
            together.wait()  # passed only if all three are here at the same time

    others = [threading.Thread(target=another) for _ in range(3)]
    with after_the_first_compiler(tmp_path):
        for each in others:
            each.start()
        others[0].join(0.5)
        assert not seen, "they wait"
        done = True
    for each in others:
        each.join()
    assert seen == [True] * 3 and not together.broken


def test_a_first_one_that_hangs_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler_cache, "FIRST_COMPILER_S", 0.0)
    with after_the_first_compiler(tmp_path), after_the_first_compiler(tmp_path):
        pass


def test_without_a_folder_nobody_waits(tmp_path: Path) -> None:
    for folder in (None, tmp_path / "missing"):
        with after_the_first_compiler(folder), after_the_first_compiler(folder):
            pass
