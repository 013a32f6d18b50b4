"""The bundled generator draws faces that its fit has never seen, and the fit trains the network that everybody runs."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from i2s_batch.demo import fit
from i2s_batch.demo.faces import NAMES, render
from i2s_batch.inversion.metrics import mse, psnr, to_uint8
from i2s_batch.models import build_generator, read_generator
from i2s_batch.models.operators import normalize_mean_square

BUNDLED = Path(str(files("i2s_batch.demo") / "generator.safetensors"))
UNSEEN_SEED = 20_190_404  # the fit draws its z from seeds up to 1000 * 4 + 64
MEDIAN_PSNR_DB = 28.3


def test_the_bundled_generator_is_small_and_what_it_says() -> None:
    assert BUNDLED.stat().st_size <= 4 * 2**20
    weights = read_generator(BUNDLED)
    assert weights.origin.startswith("i2s_batch.demo.fit, seed ")
    generator = build_generator(weights)
    assert (generator.family, generator.resolution, generator.z_dim) == ("stylegan1", 64, len(NAMES))
    assert all(weights.tensors[f"layer.{i}.noise"].any() for i in range(generator.num_layers))
    assert any(weights.tensors[f"layer.{i}.noise_strength"].any() for i in range(generator.num_layers))


def test_it_draws_faces_unseen_in_the_fit() -> None:
    generator = build_generator(read_generator(BUNDLED))
    z = torch.randn(64, generator.z_dim, generator=torch.Generator().manual_seed(UNSEEN_SEED))
    wanted = render(normalize_mean_square(z.double()).numpy(), generator.resolution)
    made = [to_uint8(image) for image in generator.synthesize(generator.map(z))]
    errors = [psnr(mse(a, b)) for a, b in zip(made, wanted, strict=True)]
    assert np.median(errors) > MEDIAN_PSNR_DB


@pytest.mark.parametrize(
    ("name", "least"),
    [("smile", 0.15), ("mouth_opening", 0.5), ("brow_height", 0.5), ("brow_tilt", 0.25), ("gaze", 0.8)],
)
def test_a_change_of_expression_is_drawn(name: str, least: float) -> None:
    """How much of what the parameter changes in the face G(z) changes too: 1 is all. Three fits had a good PSNR and
    one mouth for all faces."""
    generator = build_generator(read_generator(BUNDLED))
    z = torch.randn(24, generator.z_dim, generator=torch.Generator().manual_seed(UNSEEN_SEED))
    low, high = z.clone(), z.clone()
    low[:, NAMES.index(name)], high[:, NAMES.index(name)] = -1.2, 1.2
    wanted = [render(normalize_mean_square(x.double()).numpy(), 64) / 127.5 for x in (low, high)]
    made = [generator.synthesize(generator.map(x)).permute(0, 2, 3, 1).double().numpy() for x in (low, high)]
    change, drawn = wanted[1] - wanted[0], made[1] - made[0]
    assert (change * drawn).sum() / (change**2).sum() > least


def test_w_avg_is_the_mean_of_mapped_codes() -> None:
    generator = build_generator(read_generator(BUNDLED))
    z = torch.randn(4096, generator.z_dim, generator=torch.Generator().manual_seed(UNSEEN_SEED))
    w = generator.map(z)[:, 0]
    assert ((w.mean(0) - generator.w_avg).abs() < 5 * w.std(0) / 64 * 2**0.5 + 1e-2).all()


@pytest.mark.parametrize("resolution", fit.SHARES)
def test_the_network_in_training_is_the_network_of_models(resolution: int) -> None:
    stream = np.random.RandomState(0)
    variables = fit.grown({}, resolution, stream)
    for name in variables:
        if name.endswith(("bias", "noise_strength")):
            variables[name] = torch.from_numpy(0.1 * stream.standard_normal(variables[name].shape)).float()
    weights = fit.finished(variables, resolution, "")
    other = build_generator(fit.finished(fit.grown({}, resolution, stream), resolution, ""))
    z = torch.from_numpy(stream.standard_normal((3, len(NAMES)))).float()
    expected = build_generator(weights)
    drawn = fit.draw(fit.Drawing(other), variables, z)
    assert torch.allclose(drawn, expected.synthesize(expected.map(z)), rtol=0, atol=2e-4)


def test_growing_keeps_what_was_learnt() -> None:
    stream = np.random.RandomState(0)
    small = fit.grown({}, 16, stream)
    large = fit.grown(small, 32, stream)
    kept = [name for name in small if not name.startswith("to_rgb.weight")]
    assert all(torch.equal(small[name], large[name]) for name in kept)
    assert set(large) > set(small)


@pytest.mark.slow
def test_the_fit_grows_to_full_size_and_repeats_itself(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("a", "b"):
        fit.fit(tmp_path / name, pictures=10 * fit.BATCH, seed=3)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    weights = read_generator(tmp_path / "a")
    assert build_generator(weights).resolution == fit.RESOLUTION
    said = capsys.readouterr().out.splitlines()
    assert [line.split(" px")[0].split()[-1] for line in said] == ["16", "32", "64"] * 2
    assert weights.origin in said[2]
