"""Step programs against the plain step: the same latents whatever runs the step, and what happens when one fails."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.inversion import Embedder, EmbedResult
from i2s_batch.inversion.compiled import CompiledStep
from i2s_batch.inversion.compiler_cache import use_writable_cache
from i2s_batch.inversion.numerics import set_numerics
from i2s_batch.inversion.objective import Objective
from i2s_batch.inversion.spaces import LatentSpace
from i2s_batch.inversion.step_program import PLAIN, StepProgram, choose_program
from i2s_batch.models import build_generator, build_vgg, random_generator, random_vgg
from tests.inversion.linear import LinearGenerator, features

ROOT = Path(__file__).parents[2]
IMAGES = [(str(i), np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)) for i in range(3)]
SETTINGS = {"steps": 30, "batch_size": 2, "stop_plateau": 5.0, "plateau_steps": 10}
# Captured whole, forward and backward, without generating machine code.
CAPTURED = StepProgram(compiled=True, backend="aot_eager")


def embed(program: StepProgram = PLAIN, **settings: object) -> tuple[list[EmbedResult], Embedder]:
    embedder = Embedder(LinearGenerator(), features, EmbedConfig(**(SETTINGS | settings)), program=program)
    return sorted(embedder.embed(IMAGES), key=lambda result: result.image_id), embedder


def check_same(found: list[EmbedResult], expected: list[EmbedResult], tolerance: float) -> None:
    for a, b in zip(found, expected, strict=True):
        assert (a.image_id, a.steps, a.stop_reason) == (b.image_id, b.steps, b.stop_reason)
        np.testing.assert_allclose(a.curve, b.curve, rtol=tolerance)
        np.testing.assert_allclose(a.latent, b.latent, rtol=0, atol=tolerance)
        np.testing.assert_array_equal(a.picture, b.picture)


@pytest.mark.usefixtures("short_warm_up")
@pytest.mark.parametrize("graph", [False, True], ids=["", "buffers-stay"])
@pytest.mark.parametrize("more", [{}, {"optimizer": "lbfgs", "plateau_steps": 25}], ids=["adam", "lbfgs"])
def test_compiled_and_plain_steps_agree(more: dict[str, object], graph: bool) -> None:
    """One image ends early, another takes its slot, and the last is alone."""
    plain, _ = embed(**more)
    program = StepProgram(compiled=True, graph=graph, backend="aot_eager")
    compiled, embedder = embed(program, **more)
    assert embedder.take_warning() == ""
    assert embedder.slots.compiled_sizes == (2,)
    check_same(compiled, plain, 1e-12)


# Steps compiled or not, with buffers that stay where a graph needs them or without, in both layouts, with either set of
# operators, of which plain steps have one. Loss and gradient are a program of their own, and the update another one.
PROGRAMS = [
    StepProgram(compiled, graph, layout, fused, "aot_eager")
    for compiled, graph, layout, fused in product([True, False], [False, True], ["nchw", "nhwc"], [False, True])
    if compiled or not fused
]


def name(program: StepProgram) -> str:
    how = "" if program.compiled else "plain-"
    return f"{how}{program.layout}{'-fused' * program.fused}{'-graph' * program.graph}"


@pytest.fixture(scope="module", params=["stylegan1", "stylegan2"])
def networks(request: pytest.FixtureRequest) -> tuple[object, object, list, list[EmbedResult]]:
    """Float64 networks of a family, three images, and their embeddings by the plain step."""
    weights = random_generator(request.param, 16, seed=1, width=8, channel_base=64)
    generator = build_generator(weights, dtype=torch.float64)
    vgg = build_vgg(random_vgg(narrow=16), dtype=torch.float64)
    images = [(str(i), np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)) for i in range(3)]
    plain = Embedder(generator, vgg, EmbedConfig(steps=50, batch_size=2)).embed(images)
    return generator, vgg, images, sorted(plain, key=lambda result: result.image_id)


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_every_program_gives_the_latents_of_the_plain_step(networks: tuple, program: StepProgram) -> None:
    """Two images fill the batch, the third takes a slot that has become free and ends alone."""
    generator, vgg, images, plain = networks
    embedder = Embedder(generator, vgg, EmbedConfig(steps=50, batch_size=2), program=program)
    found = sorted(embedder.embed(images), key=lambda result: result.image_id)
    assert embedder.take_warning() == ""
    vgg.to(memory_format=torch.contiguous_format)
    check_same(found, plain, 1e-9)


def test_the_buffers_of_a_graph_never_move(networks: tuple) -> None:
    generator, vgg, images, plain = networks
    program = StepProgram(compiled=True, graph=True, layout="nhwc", fused=True, backend="aot_eager")
    embedder = Embedder(generator, vgg, EmbedConfig(steps=20, batch_size=2), program=program)

    def addresses() -> list[int]:
        slots = embedder.slots
        tensors = [getattr(slots, field) for field in ("variable", "m", "v", "step", "limit", "history", "target")]
        return [tensor.data_ptr() for tensor in [*tensors, *slots.target_features]]

    embedder.put(*images[0])
    first = addresses()
    results = []
    for image in images[1:]:
        while not embedder.free:
            results += embedder.advance()
        embedder.put(*image)
        assert addresses() == first
    while embedder.in_flight:
        results += embedder.advance()
    assert addresses() == first
    assert embedder.slots.target.is_contiguous(memory_format=torch.channels_last)
    vgg.to(memory_format=torch.contiguous_format)
    assert len(results) == len(plain)


def test_memory_for_half_the_slots_of_a_graph_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    program = StepProgram(compiled=True, graph=True, backend="aot_eager")
    embedder = Embedder(LinearGenerator(), features, EmbedConfig(steps=10, batch_size=3), program=program)
    fill_up, advance = embedder.slots.fill_up, embedder.slots.advance

    def too_large(size: int) -> None:
        if size > 2:
            raise torch.OutOfMemoryError("not enough")
        fill_up(size)

    def once(full: bool) -> None:
        monkeypatch.setattr(embedder.slots, "advance", advance)
        raise torch.OutOfMemoryError("not enough")

    monkeypatch.setattr(embedder.slots, "fill_up", too_large)
    monkeypatch.setattr(embedder.slots, "advance", once)
    found = sorted(embedder.embed(IMAGES), key=lambda result: result.image_id)
    assert embedder.capacity == 1
    check_same(found, embed(steps=10, stop_plateau=None)[0], 1e-12)


def test_without_a_compiler_the_plain_step_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = embed()

    def missing(*_: object, **__: object) -> object:
        raise RuntimeError("Failed to find C++ compiler")

    monkeypatch.setattr(torch, "compile", missing)
    found, embedder = embed(CAPTURED)
    warning = embedder.take_warning()
    assert "could not be compiled" in warning and "C++ compiler" in warning
    for a, b in zip(plain, found, strict=True):
        np.testing.assert_array_equal(a.curve, b.curve)


def scaled_losses(objective: Objective, loss_factor: float, gradient_factor: float) -> object:
    """A compiled `losses` whose loss and gradient are off by these factors."""

    def losses(variable: torch.Tensor, target: torch.Tensor, target_features: list[torch.Tensor]) -> object:
        total, terms, loss = objective.losses(variable, target, target_features)
        changed = total.detach() + gradient_factor * (total - total.detach())
        return changed, terms, loss * loss_factor

    return losses


@pytest.mark.parametrize(
    ("loss_factor", "gradient_factor", "words"),
    [
        (1.0, 0.0, "cosine is 0.000"),
        (1.0, -1.0, "cosine is -1.000"),
        (1.01, 1.0, "its loss is"),
        (float("nan"), 1.0, "its loss is nan"),
    ],
)
def test_a_program_that_disagrees_with_the_plain_step_is_never_used(
    monkeypatch: pytest.MonkeyPatch, loss_factor: float, gradient_factor: float, words: str
) -> None:
    generator, config = LinearGenerator(), EmbedConfig(**SETTINGS)
    objective = Objective(generator.synthesize, features, LatentSpace(generator, config), torch.ones(5).double())
    wrong = scaled_losses(objective, loss_factor, gradient_factor)
    monkeypatch.setattr(torch, "compile", lambda *_, **__: wrong)
    plain, _ = embed()
    found, embedder = embed(CAPTURED)
    assert words in (warning := embedder.take_warning()) and "could not be compiled" in warning
    for a, b in zip(plain, found, strict=True):
        np.testing.assert_array_equal(a.curve, b.curve)


def test_too_little_memory_is_no_fault_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> object:
        raise torch.OutOfMemoryError("not enough")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: full)
    generator = LinearGenerator()
    space = LatentSpace(generator, EmbedConfig())
    objective = Objective(generator.synthesize, features, space, torch.ones(5).double())
    compiled = CompiledStep(objective, objective, lambda *_: {}, torch.float64)
    with pytest.raises(torch.OutOfMemoryError):
        compiled.evaluate(torch.zeros(2, 3, 4).double(), torch.zeros(2, 3, 8, 8).double(), [])
    assert compiled.take_warning() == "" and not compiled.failed


def test_a_step_program_does_not_change_which_run_it_is() -> None:
    assert EmbedConfig(compile=True).identity() == EmbedConfig(compile=False).identity() == EmbedConfig().identity()


@pytest.mark.parametrize(
    ("device", "settings", "expected"),
    [
        ("cpu", {}, PLAIN),
        ("cpu", {"compile": True}, StepProgram(compiled=True)),
        ("cuda", {}, StepProgram(True, True, "nhwc", True)),
        ("cuda", {"compile": False}, PLAIN),
        ("cuda", {"steps": 499}, PLAIN),
        ("cuda", {"steps": 499, "compile": True}, StepProgram(True, True, "nhwc", True)),
        ("cuda", {"optimizer": "lbfgs"}, StepProgram(True, False, "nhwc", True)),
    ],
)
def test_the_program_follows_device_and_settings(device: str, settings: dict, expected: StepProgram) -> None:
    class Large(LinearGenerator):
        activations = torch.bfloat16
        build_fused = staticmethod(lambda layout: None)

    generator = Large()
    generator.resolution = 256
    generator.w_avg = type("OnDevice", (), {"device": torch.device(device)})()
    assert choose_program(EmbedConfig(**settings), generator) == expected
    if settings.get("compile") is None:
        generator.activations = torch.float32
        set_numerics("fp32")
        assert choose_program(EmbedConfig(**settings), generator) == PLAIN
        set_numerics("tf32")
        assert choose_program(EmbedConfig(**settings), generator) == expected
        set_numerics("fp32")
        generator.activations, generator.build_fused = torch.bfloat16, None
        assert choose_program(EmbedConfig(**settings), generator) == PLAIN


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


@pytest.mark.parametrize("unusable", ["TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"])
def test_the_compiler_gets_another_folder_where_its_own_cannot_be_written_to(
    unusable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CACHE_HOME", "I2S_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "own"))
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    embed(CAPTURED)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "own")
    monkeypatch.setenv(unusable, "/dev/null/cache")
    monkeypatch.setattr(tempfile, "tempdir", "/dev/null")
    _, embedder = embed(CAPTURED)
    assert embedder.take_warning() == ""
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / ".cache" / "i2s_batch" / "compiled")
    assert os.environ["TRITON_CACHE_DIR"] == str(tmp_path / ".cache" / "i2s_batch" / "compiled" / "triton")
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv(unusable, "/dev/null/cache")
    use_writable_cache()
    assert os.environ[unusable] == "/dev/null/cache", (
        "without any folder the compiler reports it, and the step is plain"
    )
