"""Learning a generator: against formulas, resumed as if never interrupted, and the file that holds the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from i2s_batch.config import EmbedConfig, LossWeights
from i2s_batch.encoders.curvature import PROBES, gauss_newton_blocks
from i2s_batch.encoders.kept_batches import KeptBatches
from i2s_batch.encoders.learning import LearnConfig, learn
from i2s_batch.encoders.regression import fit_ridge
from i2s_batch.encoders.samples import mixed_samples, plain_samples
from i2s_batch.errors import CheckpointError, ConfigError
from i2s_batch.inversion import Embedder
from i2s_batch.inversion.learned import Learned
from i2s_batch.inversion.learned_file import read_learned, write_learned
from i2s_batch.models import VGG16, Generator
from i2s_batch.models.checkpoints.safetensors_file import write_arrays
from i2s_batch.models.loading import load_generator, load_vgg
from tests.inversion.learned_arrays import residual_matrix
from tests.inversion.linear import LinearGenerator, features

SMALL = LearnConfig(samples=70, latents=18, batch_size=5, seed=3)
ARRAYS = ("blocks", "covariance", "feature_mean", "feature_scale", "coefficients", "start_mean")


@pytest.fixture(scope="module")
def networks(generator: Path, vgg: Path) -> tuple[Generator, VGG16]:
    return load_generator(generator), load_vgg(vgg)


@pytest.fixture(scope="module")
def learned(networks: tuple[Generator, VGG16]) -> Learned:
    return learn(*networks, SMALL)


def same(a: Learned, b: Learned) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ARRAYS)


def test_probes_average_to_the_blocks_of_the_jacobian() -> None:
    generator, weights = LinearGenerator(), LossWeights(conv3_2=3.0)
    jacobian = residual_matrix(generator, weights)
    layers, w_dim = generator.num_layers, generator.w_dim
    whole = (jacobian.T @ jacobian).reshape(layers, w_dim, layers, w_dim)
    ws = torch.zeros(1500, layers, w_dim, dtype=torch.float64)
    found = gauss_newton_blocks(generator, features, weights, ws, seed=1, label="a") / (len(ws) * PROBES)
    for layer in range(layers):
        exact = whole[layer, :, layer]
        assert (found[layer] - exact).norm() < 0.06 * exact.norm()


def test_the_regression_is_that_of_the_primal_equations() -> None:
    stream = np.random.default_rng(0)
    inputs, outputs = stream.standard_normal((30, 8)), stream.standard_normal((30, 3))
    inputs[:, 5] = 2.5  # constant: it predicts nothing
    found = fit_ridge(inputs, outputs, 4.0)
    kept = np.arange(8) != 5
    standard = (inputs[:, kept] - inputs[:, kept].mean(0)) / inputs[:, kept].std(0)
    expected = np.linalg.solve(standard.T @ standard + 4.0 * np.eye(7), standard.T @ (outputs - outputs.mean(0)))
    np.testing.assert_allclose(found.coefficients[kept], expected, atol=1e-6)
    assert (found.feature_scale[5], np.abs(found.coefficients[5]).max()) == (0, 0)


def test_samples_depend_on_seed_and_number_alone(networks: tuple[Generator, VGG16]) -> None:
    generator, _ = networks
    deviation = torch.ones(generator.w_dim)
    first = mixed_samples(generator, 6, deviation, seed=1, number=0)
    assert torch.equal(first, mixed_samples(generator, 6, deviation, seed=1, number=0))
    assert not torch.equal(first, mixed_samples(generator, 6, deviation, seed=1, number=1))
    assert first.shape == (6, generator.num_layers, generator.w_dim)
    plain = plain_samples(generator, 4, seed=2, number=7)
    assert plain.shape == (4, generator.w_dim) and torch.equal(plain, plain_samples(generator, 4, 2, 7))


class InterruptionError(Exception):
    """Ends learning in the middle."""


def after(count: int) -> Callable[[int, int, str], None]:
    """A progress that interrupts after some batches, as Ctrl-C would."""
    left = iter(range(count))

    def progress(done: int, total: int, what: str) -> None:
        assert 0 < done <= total
        if next(left, None) is None:
            raise InterruptionError

    return progress


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_interrupted_and_resumed_it_learns_the_same(
    batches: int, networks: tuple[Generator, VGG16], learned: Learned, tmp_path: Path
) -> None:
    folder = tmp_path / "a.work"
    with pytest.raises(InterruptionError):
        learn(*networks, SMALL, kept=KeptBatches(folder, {"seed": 3}), progress=after(batches))
    kept = KeptBatches(folder, {"seed": 3})
    assert same(learn(*networks, SMALL, kept=kept), learned)
    assert kept.reused == batches + 1
    (folder / "notes.txt").write_text("mine")
    kept.delete()
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_damaged_batch_is_computed_again_and_another_folder_refused(
    networks: tuple[Generator, VGG16], learned: Learned, tmp_path: Path
) -> None:
    folder = tmp_path / "a.work"
    with pytest.raises(InterruptionError):
        learn(*networks, SMALL, kept=KeptBatches(folder, {}), progress=after(1))
    (damaged,) = folder.glob("samples-00000.*")
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert same(learn(*networks, SMALL, kept=KeptBatches(folder, {})), learned)
    with pytest.raises(ConfigError, match="of other settings or networks; delete that folder"):
        KeptBatches(folder, {"seed": 4})
    other = tmp_path / "photographs"
    other.mkdir()
    (other / "a.png").write_bytes(b"")
    with pytest.raises(ConfigError, match="exists and was not made by learn"):
        KeptBatches(other, {})


def test_known_latents_count_as_much_as_the_samples(networks: tuple[Generator, VGG16], learned: Learned) -> None:
    generator, vgg = networks
    stream = np.random.default_rng(0)
    known = stream.standard_normal((9, generator.num_layers, generator.w_dim)).astype(np.float32)
    both = learn(generator, vgg, SMALL, known)
    parts = [
        gauss_newton_blocks(generator, vgg, LossWeights(), torch.from_numpy(known[a:b]), 3, f"known-{n:05d} {i}")
        for a, b, n, i in ((0, 5, 0, 0), (5, 8, 0, 1), (8, 9, 1, 0))
    ]
    expected = (learned.blocks + torch.stack(parts).sum(0) / (9 * PROBES)) / 2
    torch.testing.assert_close(both.blocks, expected, rtol=1e-4, atol=1e-7)
    assert torch.equal(both.coefficients, learned.coefficients) and both.samples == learned.samples + 9


def test_it_needs_fewer_evaluations(networks: tuple[Generator, VGG16], learned: Learned) -> None:
    """Even of a tiny generator with random weights: the loss after 30 evaluations, on images that it can draw."""
    generator, vgg = networks
    latents = plain_samples(generator, 3, seed=99, number=0)
    with torch.no_grad():
        drawn = generator.synthesize(latents[:, None].expand(-1, generator.num_layers, -1))
    images = [
        (f"{i}", ((image.clamp(-1, 1) + 1) * 127.5).byte().permute(1, 2, 0).numpy()) for i, image in enumerate(drawn)
    ]
    fast = EmbedConfig(steps=29, optimizer="lbfgs-learned", init="learned", batch_size=1)
    plain = EmbedConfig(steps=29, batch_size=1)
    ours = {r.image_id: r.loss for r in Embedder(generator, vgg, fast, learned=learned).embed(images)}
    theirs = {r.image_id: r.loss for r in Embedder(generator, vgg, plain).embed(images)}
    assert all(ours[name] < 0.5 * theirs[name] for name in theirs)


def test_the_file_holds_it_and_its_fingerprint(learned: Learned, tmp_path: Path) -> None:
    path = tmp_path / "learned.safetensors"
    written = write_learned(learned, path)
    found = read_learned(path)
    assert same(found, learned) and found.fingerprint == written.fingerprint and len(found.fingerprint) == 64
    assert replace(found, fingerprint="").__dict__.keys() == learned.__dict__.keys()
    assert (found.generator, found.vgg, found.weights, found.origin) == (
        *(learned.generator, learned.vgg, learned.weights, learned.origin),
    )
    again = write_learned(replace(learned, origin="another line for people"), tmp_path / "b")
    assert again.fingerprint == written.fingerprint
    assert write_learned(replace(learned, samples=1), tmp_path / "c").fingerprint != written.fingerprint


def test_other_files_are_refused_in_one_line(learned: Learned, generator: Path, tmp_path: Path) -> None:
    path = tmp_path / "learned.safetensors"
    write_learned(learned, path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    (tmp_path / "damaged").write_bytes(data)
    (tmp_path / "cut").write_bytes(data[:-100])
    (tmp_path / "text").write_text("no weights")
    write_arrays(tmp_path / "other", {"a": np.zeros(3, np.float32)}, {"family": "stylegan1"})
    cases = {
        "damaged": "do not agree with the fingerprint",
        "cut": "wrong type or wrong offsets",
        "text": "this is text, not a file that `i2s-batch learn` wrote",
        "other": "is not a file that `i2s-batch learn` wrote; make one",
        "missing": "No such file",
    }
    for name, message in cases.items():
        with pytest.raises(CheckpointError, match=message) as caught:
            read_learned(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 1}, "samples is 1; it must be between 2 and 20000"),
        ({"latents": 0}, "latents is 0; it must be between 1 and 100000"),
        ({"ridge": 0.0}, "ridge is 0.0; it must be finite and above 0"),
        ({"seed": -1}, "seed is -1"),
        ({"batch_size": "8"}, "batch_size is '8'"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LearnConfig(**settings)
