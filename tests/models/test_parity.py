"""The supported formats against the reference programs' own results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from i2s_batch.models import build_generator, build_vgg, read_generator
from i2s_batch.models.weights import VGGWeights

from .files import DATA, reference

# Name, extension, image tolerance in float32, activation tolerance.
FORMATS = [
    ("sg1_r64", "pkl", 1e-4, 2e-4),
    ("sg1_r128", "pkl", 1e-4, 2e-4),
    ("sg2ada_r64", "pkl", 2e-5, 2e-5),
    ("ros2_r64", "pt", 5e-5, 5e-5),
    ("sg2tf_r64", "pkl", 2e-5, 5e-5),
    ("sg3t_r64", "pkl", 2e-5, 5e-5),
]
PRECISIONS = [(torch.float64, "_f64", 1e-9), (torch.float32, "", 2e-5)]


def difference(ours: torch.Tensor, theirs: np.ndarray) -> float:
    return float(np.abs(ours.numpy()[: len(theirs)] - theirs).max())


@pytest.fixture(scope="module")
def networks():
    return {name: read_generator(DATA / f"{name}.{ext}") for name, ext, _, _ in FORMATS}


@pytest.mark.parametrize(("dtype", "suffix", "w_limit"), PRECISIONS)
@pytest.mark.parametrize(("name", "ext", "image_limit", "act_limit"), FORMATS)
def test_reference(networks, name, ext, image_limit, act_limit, dtype, suffix, w_limit):
    arrays = reference(name)
    g = build_generator(networks[name], dtype=dtype)
    z = torch.from_numpy(arrays["z"]).to(dtype)
    w_plus = torch.from_numpy(arrays["w_plus"]).to(dtype)
    w, theirs = g.map(z), arrays["w" + suffix]
    assert tuple(w.shape) == (len(z), g.num_layers, g.w_dim)
    assert difference(w if theirs.ndim == 3 else w[:, 0], theirs) <= w_limit
    if suffix:
        image_limit = 1e-9
    assert difference(g.synthesize(w_plus), arrays["image_w_plus" + suffix]) <= image_limit


@pytest.mark.parametrize(("dtype", "suffix", "limit"), PRECISIONS)
@pytest.mark.parametrize("name", ["sg1_r64", "sg1_r128", "sg2ada_r64", "sg2tf_r64", "sg3t_r64"])
def test_truncation(networks, name, dtype, suffix, limit):
    arrays = reference(name)
    g = build_generator(networks[name], dtype=dtype)
    z = torch.from_numpy(arrays["z"]).to(dtype)
    average = arrays["w_avg" if "w_avg" in arrays else "dlatent_avg"]
    assert difference(g.w_avg, average) == 0
    assert difference(g.map(z, None, 0.7, 8), arrays["w_psi07_cut8" + suffix]) <= limit
    for array, psi in (("w_psi07", 0.7), ("w_psi05", 0.5)):
        if array in arrays:
            assert difference(g.map(z, truncation_psi=psi), arrays[array + suffix]) <= limit


@pytest.mark.parametrize(
    ("name", "array", "psi", "cutoff"),
    [
        ("sg1_r64", "image_w", 1.0, None),
        ("sg1_r64", "image_z_psi07_cut8", 0.7, 8),
        ("sg1_r128", "image_w", 1.0, None),
        ("sg1_r128", "image_z_psi07_cut8", 0.7, 8),
        ("sg2ada_r64", "image_z", 1.0, None),
        ("sg2ada_r64", "image_z_psi07", 0.7, None),
        ("ros2_r64", "image_w", 1.0, None),
        ("ros2_r64", "image_z_trunc07", 0.7, None),
        ("sg3t_r64", "image_z", 1.0, None),
        ("sg3t_r64", "image_z_psi07", 0.7, None),
        ("sg2tf_r64", "image_w", 1.0, None),
        ("sg2tf_r64", "image_z_psi05", 0.5, None),  # the original program's default
    ],
)
def test_from_z_to_image(networks, name, array, psi, cutoff):
    arrays = reference(name)
    g = build_generator(networks[name])
    ours = g.synthesize(g.map(torch.from_numpy(arrays["z"]), None, psi, cutoff))
    assert difference(ours, arrays[array]) <= {f[0]: f[2] for f in FORMATS}[name]


@pytest.mark.parametrize("name", ["sg2ada_r64", "sg2tf_r64"])
def test_without_noise(networks, name):
    weights, arrays = networks[name], reference(name)
    silent = {n: np.zeros_like(t) if n.endswith("noise_strength") else t for n, t in weights.tensors.items()}
    g = build_generator(replace(weights, tensors=silent))
    assert difference(g.synthesize(torch.from_numpy(arrays["w_plus"])), arrays["image_w_plus_nonoise"]) <= 2e-5


def _activation_names(g, name):
    if name.startswith("sg1"):
        return {f"act_{i:02d}": layer for i, layer in enumerate(g.layers)}
    if name == "sg2ada_r64":
        names = {f"act_b{4 << ((i + 1) // 2)}.conv{(i + 1) % 2}": layer for i, layer in enumerate(g.layers)}
        return names | {f"act_b{r}.torgb": module for r, module in g.to_rgb.items()}
    if name == "sg2tf_r64":
        scopes = ["4x4_Conv", *(f"{r}x{r}_{conv}" for r in (8, 16, 32, 64) for conv in ("Conv0_up", "Conv1"))]
        names = {f"act_{scope}": layer for scope, layer in zip(scopes, g.layers, strict=True)}
        return names | {f"act_{r}x{r}_ToRGB": module for r, module in g.to_rgb.items()}
    if name == "sg3t_r64":
        stored = [key for key in reference(name) if key.startswith("act_")]
        modules = {key.split("_")[1]: key for key in stored}
        names = {modules[f"L{i}"]: layer for i, layer in enumerate(g.layers)}
        return names | {modules["input"]: g.input, modules[f"L{len(g.layers)}"]: g.to_rgb}
    return {"act_conv1" if i == 0 else f"act_convs.{i - 1}": layer for i, layer in enumerate(g.layers)}


@pytest.mark.parametrize(("name", "ext", "image_limit", "act_limit"), FORMATS)
def test_every_layer(networks, name, ext, image_limit, act_limit):
    arrays = reference(name)
    g = build_generator(networks[name], dtype=torch.float64)
    seen = {}
    names = _activation_names(g, name)
    for key, module in names.items():
        module.register_forward_hook(lambda m, args, out, key=key: seen.__setitem__(key, out.clone()))
    g.synthesize(torch.from_numpy(arrays["w_plus"][:1]).double())
    assert len(seen) == len(names) >= g.num_layers - 1
    for key, ours in seen.items():
        theirs = arrays[key]
        if key == "act_L14_64_3":
            theirs = 0.25 * theirs  # our ToRGB has the output scale in it
        assert difference(ours[:, : theirs.shape[1]], theirs) <= act_limit, key


@pytest.mark.parametrize(("dtype", "suffix", "limit"), PRECISIONS)
def test_input_transforms(networks, dtype, suffix, limit):
    arrays = reference("sg3t_r64")
    g = build_generator(networks["sg3t_r64"], dtype=dtype)
    ws = torch.from_numpy(arrays["w_plus"][:1]).to(dtype)
    transforms = [torch.from_numpy(arrays[f"transform_{k}"]).to(dtype) for k in (0, 1)]
    for k, transform in enumerate(transforms):
        theirs = arrays[f"image_w_plus_transform_{k}{suffix}"]
        assert difference(g.synthesize(ws, transform), theirs) <= min(limit, 2e-5)
        assert np.abs(theirs - arrays[f"image_w_plus{suffix}"][:1]).max() > 0.1
    each = g.synthesize(ws.expand(2, -1, -1), torch.stack(transforms))
    assert difference(each[1:], arrays[f"image_w_plus_transform_1{suffix}"]) <= min(limit, 2e-5)
    assert difference(g.stored_transform, arrays["transform"]) == 0


def _small_vgg():
    arrays = reference("vgg16_small_random")
    return VGGWeights({name: value for name, value in arrays.items() if name.startswith("features.")}, "shared")


@pytest.mark.parametrize("name", ["sg1_r64", "sg2ada_r64"])
def test_loss_and_gradient_of_the_trace(networks, name):
    """Step 0 of the optimisation trace: generator, VGG-16 and their gradient together."""
    from PIL import Image

    trace = reference(f"trace_{name}")
    g = build_generator(networks[name], dtype=torch.float64)
    vgg = build_vgg(_small_vgg(), dtype=torch.float64)
    picture = np.asarray(Image.open(DATA / "target_face_64.png").convert("RGB"))
    target = torch.from_numpy(picture.transpose(2, 0, 1)[None] / 127.5 - 1)
    w = torch.from_numpy(trace["w_init"]).double().requires_grad_()
    image = g.synthesize(w)
    pairs = [(image, target), *zip(vgg(image), vgg(target), strict=True)]
    terms = torch.stack([(a - b).square().mean() for a, b in pairs])
    terms.sum().backward()
    assert np.allclose(terms.detach().numpy(), trace["post_pm1__terms"][0], rtol=1e-10, atol=0)
    gradient = trace["post_pm1__grad_step0"]
    assert np.abs(w.grad.numpy() - gradient).max() <= 1e-10 * np.abs(gradient).max()
