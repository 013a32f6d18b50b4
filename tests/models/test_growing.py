"""Generators of TensorFlow beside StyleGAN1 and E to F of StyleGAN2: those that grow, and StyleGAN2-ADA."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2s_batch.errors import CheckpointError
from i2s_batch.models import (
    GeneratorWeights,
    build_fused,
    build_generator,
    random_generator,
    read_generator,
    write_safetensors,
)
from i2s_batch.models.checkpoints import facts, inspect_checkpoint
from i2s_batch.models.network_settings import StyleGAN2Settings

from .files import DATA, tensorflow_pickle, tensorflow_stylegan2
from .wrapped import as_ada, growing, tensorflow_networks


def with_lod(variables: list[tuple[str, Any]], lod: float) -> list[tuple[str, Any]]:
    return [(name, np.float32(lod) if name == "lod" else value) for name, value in variables]


def variables_of(network: Any) -> dict[str, np.ndarray]:
    return dict(network.state["variables"])


def colours_of(synthesis: dict[str, np.ndarray], lod: int, x: torch.Tensor) -> torch.Tensor:
    """The k-th colours of a StyleGAN1 of feature maps [B, C, H, W], in float64."""
    weight, bias = (synthesis[f"ToRGB_lod{lod}/{part}"].astype(np.float64) for part in ("weight", "bias"))
    colours = torch.einsum("bchw,cr->brhw", x, torch.from_numpy(weight[0, 0] / math.sqrt(weight.shape[2])))
    return colours + torch.from_numpy(bias)[:, None, None]


@pytest.mark.parametrize("lod", [1, 2, 3, 0.25, 1.75])
def test_a_stylegan1_that_was_still_growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lod: float) -> None:
    """At level of detail k the image is that of the k-th colours; between two, of both."""
    path = tmp_path / "x.pkl"
    networks = tensorflow_networks("sg1_r64.pkl", monkeypatch)
    gs = networks[2]
    gs.state["variables"] = with_lod(gs.state["variables"], lod)
    path.write_bytes(pickle.dumps(networks, 4))
    read = read_generator(path)
    k, share = int(lod), lod - int(lod)
    resolution, layers = 64 >> k, 10 - 2 * k
    assert read.settings.resolution == resolution and read.latent_shape == (layers, 64)
    assert f"still growing: {resolution} of 64 pixels" in read.origin and read.settings.fading == (
        True if share else None
    )

    whole = build_generator(read_generator(DATA / "sg1_r64.pkl"), dtype=torch.float64)
    seen: list[torch.Tensor] = []
    for layer in (layers - 1, layers - 3):
        whole.layers[layer].register_forward_hook(lambda module, args, out: seen.append(out))
    ws = torch.from_numpy(np.random.RandomState(0).standard_normal((2, 10, 64)))
    whole.synthesize(ws)
    lower, present = seen
    synthesis = variables_of(gs.state["components"]["synthesis"])
    expected = colours_of(synthesis, k, present)
    if share:
        enlarged = colours_of(synthesis, k + 1, lower).repeat_interleave(2, 2).repeat_interleave(2, 3)
        expected = expected + (enlarged - expected) * share
    g = build_generator(read, dtype=torch.float64)
    # The shares are rounded into the weights, which are float32.
    torch.testing.assert_close(g.synthesize(ws[:, :layers]), expected, rtol=0, atol=1e-6 if share else 1e-12)
    if share:
        assert g.build_fused is None
        with pytest.raises(KeyError):
            build_fused(read, "cpu", torch.float64)
        write_safetensors(read, tmp_path / "own.safetensors")
        assert read_generator(tmp_path / "own.safetensors").fingerprint == read.fingerprint


@pytest.mark.parametrize(
    ("lod", "message"),
    [
        (-1, "no single number in range"),
        (math.nan, "no single number in range"),
        (math.inf, "no single number in range"),
        (4, "resolution"),
        (12, "resolution"),
    ],
)
def test_a_level_of_detail_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lod: float, message: str
) -> None:
    networks = tensorflow_networks("sg1_r64.pkl", monkeypatch)
    networks[2].state["variables"] = with_lod(networks[2].state["variables"], lod)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(networks, 4))
    with pytest.raises(CheckpointError, match=message):
        read_generator(tmp_path / "x.pkl")


@pytest.mark.parametrize("fused", [False, True])
def test_a_stylegan2_between_two_resolutions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fused: bool) -> None:
    """The image is a blend of those of the two whole levels of detail, the lower one enlarged to the nearest pixel."""
    weights = scaled(random_generator("stylegan2", 32, width=8, architecture="orig"))
    ws = torch.from_numpy(np.random.RandomState(0).standard_normal((2, 8, 8)))
    images = {}
    for lod in (1, 1.75, 2):
        (tmp_path / "x.pkl").write_bytes(tensorflow_pickle(growing(weights, lod), monkeypatch))
        read = read_generator(tmp_path / "x.pkl")
        build = build_fused if fused else build_generator
        network = build(read, "cpu", torch.float64)
        images[lod] = (network if fused else network.synthesize)(ws[:, : read.latent_shape[0]])
    enlarged = images[2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = images[1] + (enlarged - images[1]) * 0.75
    assert float((images[1] - enlarged).abs().max()) > 0.1
    torch.testing.assert_close(images[1.75], expected, rtol=0, atol=1e-6)


def scaled(weights: GeneratorWeights, **changes: Any) -> GeneratorWeights:
    """`weights` as a program of TensorFlow has them."""
    settings = replace(StyleGAN2Settings.of(weights.settings), demodulation="scaled", style_offset=1, **changes)
    return GeneratorWeights(settings, weights.tensors, "")


@pytest.mark.parametrize("lod", [0, 1, 2])
def test_a_growing_stylegan2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lod: int) -> None:
    path = tmp_path / "x.pkl"
    weights = scaled(random_generator("stylegan2", 32, width=8, architecture="orig"))
    gs = growing(weights, lod)
    path.write_bytes(tensorflow_pickle(gs, monkeypatch))
    read = read_generator(path)
    if lod == 0:
        assert read.fingerprint == weights.fingerprint
    resolution = 32 >> lod
    stored = variables_of(gs.state["components"]["synthesis"])
    kept = {
        name: value
        for name, value in weights.tensors.items()
        if not name.startswith("to_rgb") and not (name.startswith("layer") and int(name.split(".")[1]) > 7 - 2 * lod)
    }
    colours = f"ToRGB_lod{lod}"
    kept |= {
        f"to_rgb.{resolution}.weight": stored[f"{colours}/weight"][0, 0].T,
        f"to_rgb.{resolution}.bias": stored[f"{colours}/bias"],
        f"to_rgb.{resolution}.style.weight": stored[f"{colours}/mod_weight"].T,
        f"to_rgb.{resolution}.style.bias": stored[f"{colours}/mod_bias"],
    }
    assert read.settings == replace(weights.settings, resolution=resolution)
    assert read.fingerprint == GeneratorWeights(read.settings, kept, "").fingerprint
    build_generator(read)
    shown = dict(facts(inspect_checkpoint(path)))
    assert "progressive growing" in shown["format"] and shown["wrapper"] == "Gs in (G, D, Gs)"


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("changes", [{}, {"conv_clamp": 256}])
@pytest.mark.parametrize("classes", [0, 3])
def test_stylegan2_ada_of_tensorflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, single: bool, changes: dict[str, Any], classes: int
) -> None:
    weights = scaled(random_generator("stylegan2", 16, width=8, c_dim=classes), **changes)
    gs = as_ada(tensorflow_stylegan2(weights))
    for part in (gs, *gs.state["components"].values()):
        part.state["version"] = 5
        part.state["static_kwargs"] |= changes
    path = tmp_path / "x.pkl"
    content = tensorflow_pickle(gs, monkeypatch)
    path.write_bytes(pickle.dumps(gs, 4) if single else content)
    read = read_generator(path)
    assert read.fingerprint == weights.fingerprint
    shown = dict(facts(inspect_checkpoint(path)))["wrapper"]
    assert shown == ("single network" if single else "Gs in (G, D, Gs)")


def test_the_shared_file_under_the_names_of_ada(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = tensorflow_networks("sg2tf_r64.pkl", monkeypatch)
    as_ada(networks[2])
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(networks, 4))
    read, expected = read_generator(tmp_path / "x.pkl"), read_generator(DATA / "sg2tf_r64.pkl")
    ws = torch.zeros(1, *read.latent_shape)
    assert torch.equal(build_generator(read).synthesize(ws), build_generator(expected).synthesize(ws))
    assert read.fingerprint == expected.fingerprint


def test_another_network_of_tensorflow_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = tensorflow_networks("sg1_r64.pkl", monkeypatch)
    networks[2].state["build_func_name"] = "G_paper"
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(networks, 4))
    with pytest.raises(CheckpointError, match=r"it was built by G_paper, G_synthesis$"):
        read_generator(tmp_path / "x.pkl")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(networks[1], 4))
    with pytest.raises(CheckpointError, match=r"\(single network\) is n"):
        read_generator(tmp_path / "x.pkl")
