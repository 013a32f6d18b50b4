"""VGG-16: features, reduction of large images, reading torchvision's files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from i2s_batch.errors import CheckpointError, ConfigError
from i2s_batch.models import VGGWeights, build_vgg, random_vgg, read_generator, read_vgg, write_safetensors
from i2s_batch.models.weights import VGG_LAYERS, VGG_WIDTHS

from .files import DATA, reference


def small():
    arrays = reference("vgg16_small_random")
    return VGGWeights({name: value for name, value in arrays.items() if name.startswith("features.")}, "shared")


def full_state(scale: int = 1) -> dict[str, torch.Tensor]:
    """A whole VGG-16 state dict, widths divided by `scale`, with a classifier."""
    state, inputs = {}, 3
    for layer, width in zip(VGG_LAYERS, VGG_WIDTHS, strict=True):
        state[f"features.{layer}.weight"] = torch.randn(width // scale, inputs, 3, 3)
        state[f"features.{layer}.bias"] = torch.zeros(width // scale)
        inputs = width // scale
    return state | {"classifier.0.weight": torch.zeros(64, 1000), "classifier.0.bias": torch.zeros(64)}


def plain_features(tensors, images):
    mean, deviation = ([*values] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = torch.stack([((images[:, c] + 1) / 2 - mean[c]) / deviation[c] for c in range(3)], 1)
    out = []
    for layer in (0, 2, 5, 7, 10, 12, 14, 17, 19):
        if layer in (5, 10, 17):
            x = F.max_pool2d(x, 2)
        weight, bias = (torch.from_numpy(tensors[f"features.{layer}.{p}"]).double() for p in ("weight", "bias"))
        x = F.conv2d(x, weight, bias, padding=1).relu()
        if layer in (0, 2, 12, 19):
            out.append(x)
    return out


def test_features():
    weights = small()
    images = torch.from_numpy(np.random.RandomState(0).uniform(-1, 1, (2, 3, 64, 64)))
    ours = build_vgg(weights, dtype=torch.float64)(images)
    assert [tuple(f.shape) for f in ours] == [(2, 8, 64, 64), (2, 8, 64, 64), (2, 32, 16, 16), (2, 64, 8, 8)]
    for a, b in zip(ours, plain_features(weights.tensors, images), strict=True):
        assert (a - b).abs().max() <= 1e-12


def test_large_images_are_reduced_by_box_means():
    images = torch.from_numpy(np.random.RandomState(0).uniform(-1, 1, (1, 3, 512, 512)))
    vgg = build_vgg(small(), dtype=torch.float64)
    boxes = images.reshape(1, 3, 256, 2, 256, 2).mean((3, 5))
    for a, b in zip(vgg(images), vgg(boxes), strict=True):
        assert (a - b).abs().max() <= 1e-12
    with pytest.raises(ConfigError, match="multiple of 256"):
        vgg(images[:, :, :300, :300])
    with pytest.raises(ConfigError, match="images have the shape"):
        vgg(images[0])


def test_random_vgg():
    first, second = random_vgg(), random_vgg()
    assert first.is_random
    assert not first.has_lpips_trunk
    assert first.fingerprint == second.fingerprint != random_vgg(1).fingerprint
    assert first.tensors["features.19.weight"].shape == (512, 512, 3, 3)
    assert float(first.tensors["features.19.weight"].std()) == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("scale", [1, 8])
def test_torchvision_file(tmp_path, zipped, scale):
    state = full_state(scale)
    path = tmp_path / "vgg16.pth"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    weights = read_vgg(path)
    assert weights.has_lpips_trunk == (scale == 1)
    assert len(weights.tensors) == 26
    for name, value in weights.tensors.items():
        assert np.array_equal(value, state[name].numpy())


def test_parameters_are_tensors_too(tmp_path):
    state = {name: torch.nn.Parameter(value) for name, value in full_state(8).items()}
    torch.save(state, tmp_path / "vgg.pth")
    assert len(read_vgg(tmp_path / "vgg.pth").tensors) == 26


def test_bare_and_our_own_file(tmp_path):
    weights = small()
    torch.save({n: torch.from_numpy(t) for n, t in weights.tensors.items()}, tmp_path / "bare.pth")
    write_safetensors(weights, tmp_path / "own.safetensors")
    from safetensors.numpy import save_file

    save_file(weights.tensors, tmp_path / "plain.safetensors")
    for name in ("bare.pth", "own.safetensors", "plain.safetensors"):
        assert read_vgg(tmp_path / name).fingerprint == weights.fingerprint
    write_safetensors(random_vgg(), tmp_path / "random.safetensors")
    assert read_vgg(tmp_path / "random.safetensors").is_random


def test_the_wrong_network_is_named(tmp_path):
    state = full_state(8)
    torch.save(state, tmp_path / "vgg.pth")
    with pytest.raises(CheckpointError, match="give it as --vgg"):
        read_generator(tmp_path / "vgg.pth")
    with pytest.raises(CheckpointError, match="give it as --generator"):
        read_vgg(DATA / "ros2_r64.pt")
    with pytest.raises(CheckpointError, match="give it as --generator"):
        read_vgg(DATA / "sg1_r64.pkl")
    write_safetensors(read_generator(DATA / "sg1_r128.pkl"), tmp_path / "g.safetensors")
    with pytest.raises(CheckpointError, match="give it as --generator"):
        read_vgg(tmp_path / "g.safetensors")
    write_safetensors(small(), tmp_path / "v.safetensors")
    with pytest.raises(CheckpointError, match="give it as --vgg"):
        read_generator(tmp_path / "v.safetensors")
    other = state | {"features.16.weight": state["features.14.weight"]}
    torch.save(other, tmp_path / "vgg19.pth")
    with pytest.raises(CheckpointError, match=r"features\.16 is a layer of another VGG"):
        read_vgg(tmp_path / "vgg19.pth")


@pytest.mark.parametrize("name", ["features.12.weight", "features.19.bias", "features.28.bias"])
def test_a_missing_or_misshapen_variable_is_named(tmp_path, name):
    state = full_state(8)
    torch.save({n: t for n, t in state.items() if n != name}, tmp_path / "missing.pth")
    with pytest.raises(CheckpointError, match=name):
        read_vgg(tmp_path / "missing.pth")
    torch.save(state | {name: state[name][:2]}, tmp_path / "cut.pth")
    with pytest.raises(CheckpointError, match="features"):
        read_vgg(tmp_path / "cut.pth")
