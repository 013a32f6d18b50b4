"""Rosinality's StyleGAN1, whose differences from NVIDIA's are moved into the variables: the same function."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from i2s_batch.errors import CheckpointError
from i2s_batch.models import build_fused, build_generator, read_generator
from i2s_batch.models.generator import Generator

from .files import DATA, reference
from .wrapped import State, module_of, rosinality_stylegan1, saved


def read_from(path: Path, content: object) -> Generator:
    path.write_bytes(saved(content))
    return build_generator(read_generator(path), dtype=torch.float64)


def with_noise(g: Generator, state: State, noises: list[torch.Tensor]) -> None:
    """Add the noise images that a call of the program is given: its file stores none."""
    for i, layer in enumerate(g.layers):
        strength = state[f"generator.progression.{i // 2}.noise{i % 2 + 1}.weight_orig"].double()[0]
        # The norm of ours is met by all before it being sqrt(1e-3) times as large.
        added = noises[i // 2] * strength * math.sqrt(2 / len(strength)) * math.sqrt(1e-3)
        layer.noise = layer.noise * layer.noise_strength + added
        layer.noise_strength = torch.ones_like(layer.noise_strength)


@pytest.mark.parametrize(("precision", "limit"), [("_f64", 5e-6), ("", 1e-4)])
def test_reference(tmp_path: Path, precision: str, limit: float) -> None:
    arrays, state = reference("ros1_r64"), rosinality_stylegan1(5)
    g = read_from(tmp_path / "x.model", state)
    assert (g.resolution, g.num_layers, g.w_dim) == (64, 10, 48)
    ws = g.map(torch.from_numpy(arrays["z"]).double())
    theirs = arrays["w" + precision]
    assert np.abs(ws[: len(theirs), 0].numpy() - theirs).max() <= (1e-9 if precision else 2e-5)
    with_noise(g, state, [torch.from_numpy(arrays[f"noise_block{k}"][0]).double() for k in range(5)])
    image = arrays["image_z" + precision]
    assert np.abs(g.synthesize(ws).numpy()[: len(image)] - image).max() <= limit
    if not precision:
        mixed = ws.clone()
        mixed[:, 2:6] = g.map(torch.from_numpy(arrays["z2"]).double())[:, 2:6]  # blocks 1 and 2
        theirs = arrays["image_mix_blocks_1_2"]
        assert np.abs(g.synthesize(mixed).numpy()[: len(theirs)] - theirs).max() <= limit


def naive(state: State, styles: torch.Tensor) -> torch.Tensor:
    """One w of each block [blocks, w] -> [1, 3, R, R], as the program's formulas are, without noise."""
    s = {name.removeprefix("generator."): value.double() for name, value in state.items()}
    x = s["progression.0.conv1.input"]
    for k, w in enumerate(styles):
        block = f"progression.{k}"
        if k:
            x = _upsampled(s, f"{block}.conv1", x)
        x = _styled(s, f"{block}.adain1", x, w)
        kernel = s[f"{block}.conv2.conv.weight_orig"]
        x = F.conv2d(x, kernel * math.sqrt(2 / kernel[0].numel()), s[f"{block}.conv2.conv.bias"], padding=1)
        x = _styled(s, f"{block}.adain2", x, w)
    kernel = s[f"to_rgb.{len(styles) - 1}.conv.weight_orig"]
    return F.conv2d(x, kernel * math.sqrt(2 / kernel.shape[1]), s[f"to_rgb.{len(styles) - 1}.conv.bias"])


def _upsampled(s: State, path: str, x: torch.Tensor) -> torch.Tensor:
    if f"{path}.0.weight" in s:  # fused: each pixel adds the mean of four shifts of the kernel
        kernel = s[f"{path}.0.weight"]
        shifts = [F.pad(kernel, (a, 1 - a, b, 1 - b)) for a in (0, 1) for b in (0, 1)]
        mean = sum(shifts) / 4 * math.sqrt(2 / (kernel.shape[0] * 9))
        x = F.conv_transpose2d(x, mean, s[f"{path}.0.bias"], stride=2, padding=1)
    else:
        kernel = s[f"{path}.1.conv.weight_orig"] * math.sqrt(2 / s[f"{path}.1.conv.weight_orig"][0].numel())
        x = F.conv2d(F.interpolate(x, scale_factor=2), kernel, s[f"{path}.1.conv.bias"], padding=1)
    blur = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]).double() / 16
    return F.conv2d(x, blur.expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])


def _styled(s: State, path: str, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    style = s[f"{path}.style.linear.weight_orig"] @ w * math.sqrt(2 / len(w)) + s[f"{path}.style.linear.bias"]
    scale, shift = style[:, None, None].chunk(2)
    return F.instance_norm(F.leaky_relu(x, 0.2), eps=1e-5) * scale + shift


@pytest.mark.parametrize("blocks", [2, 5, 6, 7])
def test_without_noise_and_with_fused_upsampling(tmp_path: Path, blocks: int) -> None:
    """From 128 pixels on, the sixth block, the program fuses upsampling and convolution."""
    state = rosinality_stylegan1(blocks)
    g = read_from(tmp_path / "x.model", {"g_running": state, "generator": state, "g_optimizer": {}})
    assert g.resolution == 2 << blocks
    styles = torch.from_numpy(np.random.RandomState(1).standard_normal((blocks, g.w_dim)))
    expected = naive(state, styles)
    image = g.synthesize(styles.repeat_interleave(2, 0)[None])
    assert float(expected.abs().max()) > 0.5
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-5)
    weights = read_generator(tmp_path / "x.model")
    fused = build_fused(weights, "cpu", torch.float64)(styles.repeat_interleave(2, 0)[None])
    torch.testing.assert_close(fused, image, rtol=0, atol=1e-9)


def test_the_whole_file_is_read_at_its_highest_trained_resolution(tmp_path: Path) -> None:
    read = read_generator(DATA / "ros1_r64.model")
    assert read.latent_shape == (18, 48)
    assert read.origin == "rosinality StyleGAN1 file (bare state dict), no stored noise: zero noise, mean of w computed"


def test_a_whole_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_generator(DATA / "ros1_r64.model")
    whole = module_of(rosinality_stylegan1(), "model.StyledGenerator", "model.StyledConvBlock", monkeypatch)
    for zipped in (True, False):
        (tmp_path / "x").write_bytes(saved(whole, zipped))
        assert read_generator(tmp_path / "x").fingerprint == expected.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generator.progression.1.conv1.2.weight": torch.ones(32, 1, 3, 3)}, r"is not \[1, 2, 1\]"),
        ({"generator.progression.1.conv1.conv.weight_orig": torch.ones(32, 32, 3, 3)}, "first version"),
        ({"generator.progression.2.adain1.style.linear.bias": torch.ones(5)}, r"adain1\.style\.linear\.bias has the"),
        ({"generator.progression.2.noise1.weight_orig": torch.ones(32)}, r"noise1\.weight_orig has the shape"),
        ({"generator.surprise": torch.ones(2)}, "'generator.surprise'"),
        ({"style.3.linear.weight_orig": torch.full((48, 48), math.nan)}, "not finite"),
    ],
)
def test_a_faulty_variable_is_named(tmp_path: Path, change: State, message: str) -> None:
    (tmp_path / "x").write_bytes(saved(rosinality_stylegan1(4) | change))
    with pytest.raises(CheckpointError, match=message):
        read_generator(tmp_path / "x")
