"""The step as one compiled program against the plain step, and what happens without a compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.inversion import Embedder, EmbedResult
from i2s_batch.inversion import slots as slots_module
from i2s_batch.inversion.compiled import CompiledStep
from tests.inversion.linear import LinearGenerator, features

ROOT = Path(__file__).parents[2]
IMAGES = [(str(i), np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)) for i in range(3)]
SETTINGS = {"steps": 30, "batch_size": 2, "stop_plateau": 5.0, "plateau_steps": 10}


def embed(**settings: object) -> tuple[list[EmbedResult], str]:
    embedder = Embedder(LinearGenerator(), features, EmbedConfig(**(SETTINGS | settings)))
    return sorted(embedder.embed(IMAGES), key=lambda result: result.image_id), embedder.take_warning()


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[CompiledStep]:
    """The compiled steps that are made: captured whole, forward and backward, without generating machine code."""
    made: list[CompiledStep] = []

    def compiled(step: object) -> CompiledStep:
        made.append(CompiledStep(step, backend="aot_eager"))
        return made[-1]

    monkeypatch.setattr(slots_module, "CompiledStep", compiled)
    return made


@pytest.mark.usefixtures("short_warm_up")
@pytest.mark.parametrize("more", [{}, {"optimizer": "lbfgs", "plateau_steps": 25}], ids=["adam", "lbfgs"])
def test_compiled_and_plain_steps_agree(programs: list[CompiledStep], more: dict[str, object]) -> None:
    """One picture ends early, another takes its slot, and the last is alone: only the full batch is compiled."""
    plain, _ = embed(compile=False, **more)
    compiled, warning = embed(compile=True, **more)
    assert warning == ""
    assert [list(program._programs) for program in programs] == [[2]]
    for a, b in zip(plain, compiled, strict=True):
        assert (a.steps, a.stop_reason) == (b.steps, b.stop_reason)
        np.testing.assert_allclose(b.curve, a.curve, rtol=1e-12)
        np.testing.assert_allclose(b.latent, a.latent, rtol=0, atol=1e-12)


def test_without_a_compiler_the_plain_step_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = embed(compile=False)

    def missing(*_: object, **__: object) -> object:
        raise RuntimeError("Failed to find C++ compiler")

    monkeypatch.setattr(torch, "compile", missing)
    found, warning = embed(compile=True)
    assert "could not be compiled" in warning and "C++ compiler" in warning
    for a, b in zip(plain, found, strict=True):
        np.testing.assert_array_equal(a.curve, b.curve)


def test_too_little_memory_is_no_fault_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> object:
        raise torch.OutOfMemoryError("not enough")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: full)
    compiled = CompiledStep(lambda x: x)
    with pytest.raises(torch.OutOfMemoryError):
        compiled(torch.zeros(2))
    assert compiled.take_warning() == ""


def test_the_compiler_does_not_change_which_run_it_is() -> None:
    assert EmbedConfig(compile=True).identity() == EmbedConfig(compile=False).identity()


def test_the_plain_step_imports_no_compiler() -> None:
    code = """
import sys, numpy as np
from i2s_batch import EmbedConfig, Embedder
from tests.inversion.linear import LinearGenerator, features
list(Embedder(LinearGenerator(), features, EmbedConfig(steps=1)).embed([("a", np.zeros((8, 8, 3), np.uint8))]))
print("torch._dynamo" in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert said.strip() == "False"
