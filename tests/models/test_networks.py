"""What the reference data do not cover: other architectures, classes, independence, gradients, arguments."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from i2s_batch.errors import CheckpointError, ConfigError
from i2s_batch.models import (
    GeneratorWeights,
    build_generator,
    build_vgg,
    random_generator,
    random_vgg,
    read_generator,
    untrained,
)

from . import naive, naive3
from .files import DATA, ada_pickle, reference, tensorflow_pickle, tensorflow_stylegan2

FAMILIES = ["stylegan1", "stylegan2", "stylegan3"]


def small(family="stylegan2", resolution=32, **options) -> GeneratorWeights:
    """A random generator with every value away from its neutral start."""
    weights = random_generator(family, resolution, seed=3, width=12, channel_base=192, **options)
    stream = np.random.RandomState(7)
    moved = {n: np.array(t + 0.3 * stream.standard_normal(t.shape), np.float32) for n, t in weights.tensors.items()}
    for name, value in moved.items():
        if name.endswith(("_filter", "freqs")):  # designed, not learnt
            moved[name] = weights.tensors[name]
        elif name.endswith("magnitude"):  # small: an untrained StyleGAN3 loses its waves from layer to layer
            moved[name] = np.array(0.7 * np.exp(value - 1), np.float32)
        elif family == "stylegan3" and name.startswith("layer") and name.endswith("bias"):
            moved[name] = np.array(weights.tensors[name] + 0.1 * (value - weights.tensors[name]), np.float32)
    return GeneratorWeights(weights.settings, moved, "moved")


def codes(weights: GeneratorWeights, count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(9).standard_normal((count, *weights.latent_shape)))


def test_the_naive_networks_are_right():
    for name, ext in (("sg2ada_r64", "pkl"), ("ros2_r64", "pt"), ("sg2tf_r64", "pkl")):
        weights, arrays = read_generator(DATA / f"{name}.{ext}"), reference(name)
        ours = naive.synthesized(weights, torch.from_numpy(arrays["w_plus"][0]).double())
        assert np.abs(ours.numpy() - arrays["image_w_plus_f64"]).max() <= 1e-12
    weights, arrays = read_generator(DATA / "sg3t_r64.pkl"), reference("sg3t_r64")
    transform = torch.from_numpy(arrays["transform_1"]).double()
    ours = naive3.synthesized(weights, torch.from_numpy(arrays["w_plus"][0]).double(), transform)
    assert np.abs(ours.numpy() - arrays["image_w_plus_transform_1_f64"]).max() <= 1e-12


@pytest.mark.parametrize("clamp", [None, 0.8])
@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_architectures(tmp_path, monkeypatch, architecture, clamp):
    """Through a StyleGAN2-ADA pickle, against the naive network."""
    weights = small(architecture=architecture, conv_clamp=clamp)
    path = tmp_path / "network.pkl"
    path.write_bytes(ada_pickle(weights, monkeypatch))
    read = read_generator(path)
    assert read.fingerprint == weights.fingerprint
    g = build_generator(read, dtype=torch.float64)
    ws = codes(weights, 2)
    theirs = torch.cat([naive.synthesized(weights, one) for one in ws])
    assert (g.synthesize(ws) - theirs).abs().max() <= 1e-12
    if clamp:
        assert theirs.abs().max() > 0.5  # the limit was reached somewhere


@pytest.mark.parametrize(("family", "resolution"), [("stylegan2", 32), ("stylegan3", 16)])
def test_conditional_with_separate_normalization(tmp_path, monkeypatch, family, resolution):
    weights = small(family, resolution, c_dim=3)
    path = tmp_path / "network.pkl"
    path.write_bytes(ada_pickle(weights, monkeypatch))
    read = read_generator(path)
    assert read.fingerprint == weights.fingerprint
    g = build_generator(read, dtype=torch.float64)
    z = torch.from_numpy(np.random.RandomState(1).standard_normal((3, g.z_dim)))
    labels = torch.eye(3, dtype=torch.float64)
    theirs = torch.stack([naive.mapped(weights, *pair) for pair in zip(z, labels, strict=True)])
    assert (g.map(z, labels)[:, 0] - theirs).abs().max() <= 1e-12


def of_tensorflow(**options) -> GeneratorWeights:
    """A StyleGAN2 with what its TensorFlow program does differently."""
    weights = small(**options)
    settings = replace(weights.settings, demodulation="scaled", style_offset=1)
    if settings.c_dim:
        settings = replace(settings, label_normalization="joint")
    tensors = {name: value for name, value in weights.tensors.items() if name != "label.bias"}
    return GeneratorWeights(settings, tensors, "moved")


@pytest.mark.parametrize(("architecture", "c_dim"), [("skip", 3), ("resnet", 0), ("orig", 2)])
def test_stylegan2_of_tensorflow(tmp_path, monkeypatch, architecture, c_dim):
    """Through a pickle of that program, against the naive network."""
    weights = of_tensorflow(architecture=architecture, c_dim=c_dim)
    path = tmp_path / "network.pkl"
    path.write_bytes(tensorflow_pickle(tensorflow_stylegan2(weights), monkeypatch))
    read = read_generator(path)
    assert read.fingerprint == weights.fingerprint
    g = build_generator(read, dtype=torch.float64)
    ws = codes(weights, 2)
    theirs = torch.cat([naive.synthesized(weights, one) for one in ws])
    assert (g.synthesize(ws) - theirs).abs().max() <= 1e-12
    z = torch.from_numpy(np.random.RandomState(1).standard_normal((2, g.z_dim)))
    labels = torch.eye(c_dim, dtype=torch.float64)[:2] if c_dim else None
    mapped = [naive.mapped(weights, one, None if labels is None else labels[k]) for k, one in enumerate(z)]
    assert (g.map(z, labels)[:, 0] - torch.stack(mapped)).abs().max() <= 1e-12


@pytest.mark.parametrize(("radial", "resolution", "clamp"), [(False, 16, 1.0), (True, 32, None), (True, 16, 256)])
def test_stylegan3(tmp_path, monkeypatch, radial, resolution, clamp):
    """Through an official pickle, against the naive network; configuration R has no reference."""
    weights = small("stylegan3", resolution, radial=radial, conv_clamp=clamp)
    path = tmp_path / "network.pkl"
    path.write_bytes(ada_pickle(weights, monkeypatch))
    read = read_generator(path)
    assert read.fingerprint == weights.fingerprint
    assert [layer.radial for layer in read.settings.layers] == [radial] * 12 + [False] * 3
    g = build_generator(read, dtype=torch.float64)
    ws = codes(weights, 2)
    theirs = torch.cat([naive3.synthesized(weights, one) for one in ws])
    assert (g.synthesize(ws) - theirs).abs().max() <= 1e-9  # the epsilon of the style's mean square
    turned = g.stored_transform
    theirs = torch.cat([naive3.synthesized(weights, one, turned) for one in ws])
    assert (g.synthesize(ws, turned) - theirs).abs().max() <= 1e-9
    assert (g.synthesize(ws) - theirs).abs().max() > 1e-3


def test_a_clamp_that_is_reached():
    weights = small("stylegan3", 16, conv_clamp=0.5)
    ws = codes(weights, 1)
    free = build_generator(replace(weights, settings=replace(weights.settings, conv_clamp=None)), dtype=torch.float64)
    ours = build_generator(weights, dtype=torch.float64).synthesize(ws)
    assert (ours - naive3.synthesized(weights, ws[0])).abs().max() <= 1e-9
    assert (ours - free.synthesize(ws)).abs().max() > 0.01


def test_stylegan3_is_designed_as_the_original_designs_it():
    """Sizes, paddings and filters of an untrained generator are those in a file of the original program."""
    stored = read_generator(DATA / "sg3t_r64.pkl")
    ours = random_generator("stylegan3", 64, width=24, channel_base=512, conv_clamp=256)
    assert replace(ours.settings, mapping_layers=2) == stored.settings
    assert {n: t.shape for n, t in ours.tensors.items() if n.startswith("layer") and "style" not in n} == {
        n: t.shape for n, t in stored.tensors.items() if n.startswith("layer") and "style" not in n
    }
    for name, value in ours.tensors.items():
        if name.endswith("_filter"):
            assert np.abs(value - stored.tensors[name]).max() <= 2e-8


def test_radial_filters():
    """Sum 1, alike in every direction, and the first Bessel function at tabulated places."""
    from i2s_batch.models.alias_free import bands, bessel_j1, radial_low_pass

    assert np.allclose(bessel_j1(np.array([0, 1, 5, 30.0])), [0, 0.44005059, -0.32757914, -0.11875106], atol=1e-8)
    kernel = radial_low_pass(12, bands(64)[0], 32)
    assert kernel.sum() == pytest.approx(1)
    assert np.allclose(kernel, kernel.T)
    assert np.allclose(kernel, kernel[::-1, ::-1])
    assert np.linalg.matrix_rank(kernel) > 1


def test_a_transform_moves_the_picture():
    """A translation by whole pixels: the margins see to it that nothing comes in from the border."""
    weights = small("stylegan3", 64, conv_clamp=256)
    g = build_generator(weights, dtype=torch.float64)
    ws = codes(weights, 1)
    shift = torch.eye(3, dtype=torch.float64)
    shift[0, 2] = 8 / 64
    still, moved = g.synthesize(ws), g.synthesize(ws, shift)
    assert (moved[..., 8:-16] - still[..., 16:-8]).abs().max() < 0.1 * still.std()
    with pytest.raises(ConfigError, match=r"transform has the shape \[2, 3, 3\]"):
        g.synthesize(ws, torch.stack([shift, shift]))


def test_stylegan3_refuses_what_it_cannot_build():
    weights = small("stylegan3", 16)
    layers = weights.settings.layers
    with pytest.raises(CheckpointError, match=r"layer\.3\.magnitude is 0\.0"):
        build_generator(replace(weights, tensors=weights.tensors | {"layer.3.magnitude": np.zeros((), np.float32)}))
    for change, message in (
        ({"bandwidth": 8.0}, "bandwidth 8.0"),
        ({"input_size": 37}, "its layers make .* not the resolution 16"),
        ({"layers": layers[:-1]}, "layers"),
        ({"layers": (replace(layers[0], up=1 << 40), *layers[1:])}, "layers"),
        ({"layers": (replace(layers[0], padding=(-100, 0, 0, 0)), *layers[1:])}, "its layer 0 would have -"),
        ({"output_scale": None}, "output_scale"),
    ):
        with pytest.raises(CheckpointError, match=message):
            build_generator(replace(weights, settings=replace(weights.settings, **change)))


def test_conditional_stylegan1_normalises_both_together():
    weights = small("stylegan1", c_dim=3)
    g = build_generator(weights, dtype=torch.float64)
    z = torch.from_numpy(np.random.RandomState(1).standard_normal(g.z_dim))
    t = naive.tensors_of(weights)
    x = naive.second_moment(torch.cat([z, t["label.weight"][:, 1]]))
    for j in range(8):
        gain = np.sqrt(2) * 0.01 / np.sqrt(len(x))
        x = naive.lrelu(t[f"mapping.{j}.weight"] @ x * gain + t[f"mapping.{j}.bias"] * 0.01)
    label = torch.eye(3, dtype=torch.float64)[1:2]
    assert (g.map(z[None], label)[0, 0] - x).abs().max() <= 1e-12


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_does_not_depend_on_its_neighbours(family):
    weights = small(family)
    g = build_generator(weights, dtype=torch.float64)
    ws = codes(weights, 8)
    alone = torch.cat([g.synthesize(one[None]) for one in ws])
    assert (g.synthesize(ws) - alone).abs().max() <= 1e-12
    z = torch.from_numpy(np.random.RandomState(4).standard_normal((8, g.z_dim)))
    assert (g.map(z) - torch.cat([g.map(one[None]) for one in z])).abs().max() <= 1e-12


@pytest.mark.parametrize(
    ("family", "options"),
    [
        *(("stylegan2", {"architecture": architecture}) for architecture in ("skip", "resnet", "orig")),
        ("stylegan1", {}),
        ("stylegan3", {"conv_clamp": 1.0}),
        ("stylegan3", {"radial": True}),
    ],
)
def test_gradient(family, options):
    """The directional derivative against a central difference, in float64."""
    weights = small(family, resolution=16, **options)
    g = build_generator(weights, dtype=torch.float64)
    assert not any(p.requires_grad for p in g.parameters())
    assert not any(b.requires_grad for b in g.buffers())
    ws = codes(weights, 2).requires_grad_()
    direction = codes(weights, 4)[2:]
    weighting = torch.from_numpy(np.random.RandomState(2).standard_normal((2, 3, 16, 16)))
    (g.synthesize(ws) * weighting).sum().backward()
    with torch.no_grad():
        # A StyleGAN3 has so many leaky ReLUs that a few bend within a longer step.
        step = 1e-7 if family == "stylegan3" else 1e-6
        ahead, behind = (g.synthesize(ws + sign * step * direction) for sign in (1, -1))
        measured = ((ahead - behind) * weighting).sum() / (2 * step)
    scale = float(ws.grad.norm() * direction.norm())
    assert float((ws.grad * direction).sum()) == pytest.approx(float(measured), rel=1e-6, abs=1e-8 * scale)


@pytest.mark.parametrize("family", FAMILIES)
def test_any_resolution(family):
    for resolution in (16, 256) if family == "stylegan3" else (8, 16, 256):
        g = build_generator(random_generator(family, resolution, width=4, channel_base=64))
        image = g.synthesize(g.map(torch.zeros(1, 4) + 1))
        assert tuple(image.shape) == (1, 3, resolution, resolution)
        assert torch.isfinite(image).all()


def test_official_widths_at_1024():
    weights = random_generator("stylegan1", 1024)
    assert weights.latent_shape == (18, 512)
    assert [weights.tensors[f"layer.{i}.bias"].shape[0] for i in range(0, 18, 2)] == [
        *(512, 512, 512, 512, 256, 128, 64, 32, 16)
    ]


def test_random_weights_are_reproducible():
    first, second = (random_generator("stylegan2", 16, seed=5, width=8) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != random_generator("stylegan2", 16, seed=6, width=8).fingerprint
    with pytest.raises(ConfigError, match="family"):
        random_generator("stylegan9")


def test_wrong_arguments():
    g = build_generator(small())
    with pytest.raises(ConfigError, match=r"z has the shape \[1, 5\]"):
        g.map(torch.zeros(1, 5))
    with pytest.raises(ConfigError, match="no classes"):
        g.map(torch.zeros(1, g.z_dim), torch.zeros(1, 2))
    with pytest.raises(ConfigError, match="ws has the shape"):
        g.synthesize(torch.zeros(1, g.num_layers + 1, g.w_dim))
    with pytest.raises(ConfigError, match="ws has the shape"):
        g.synthesize(torch.zeros(g.num_layers, g.w_dim))
    conditional = build_generator(small(c_dim=2))
    with pytest.raises(ConfigError, match="conditional"):
        conditional.map(torch.zeros(1, conditional.z_dim))
    with pytest.raises(ConfigError, match="labels has the shape"):
        conditional.map(torch.zeros(2, conditional.z_dim), torch.zeros(1, 2))


def test_read_only_arrays_are_no_trouble():
    weights = small()
    for value in weights.tensors.values():
        value.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_generator(weights)
    vgg = random_vgg()
    for value in vgg.tensors.values():
        value.flags.writeable = False
    build_vgg(vgg)


def test_building_refuses_incomplete_weights():
    weights = small()
    broken = dict(weights.tensors)
    del broken["layer.4.bias"]
    with pytest.raises(CheckpointError, match=r"layer\.4\.bias \[12\] is missing"):
        build_generator(GeneratorWeights(weights.settings, broken, ""))
    broken = weights.tensors | {"layer.4.bias": np.zeros(5, np.float32)}
    with pytest.raises(CheckpointError, match=r"layer\.4\.bias has the shape \[5\]; \[12\] is needed"):
        build_generator(GeneratorWeights(weights.settings, broken, ""))
    with pytest.raises(CheckpointError, match="architecture"):
        build_generator(GeneratorWeights(replace(weights.settings, architecture="x"), broken, ""))


@pytest.mark.parametrize("family", FAMILIES)
def test_can_be_traced_without_graph_breaks(family):
    """No control flow that depends on data: what a compiler needs."""
    weights = small(family, 16)
    g = build_generator(weights)
    program = torch.export.export(_Synthesis(g), (codes(weights, 2).float(),))
    ws = codes(weights, 2).float()
    assert (program.module()(ws) - g.synthesize(ws)).abs().max() <= 1e-5


class _Synthesis(torch.nn.Module):
    def __init__(self, generator):
        super().__init__()
        self.generator = generator

    def forward(self, ws):
        return self.generator.synthesize(ws)


@pytest.mark.parametrize(
    ("family", "options"), [("stylegan1", {}), ("stylegan2", {"c_dim": 3}), ("stylegan3", {"conv_clamp": 256})]
)
def test_untrained_weights_have_the_same_layers(family, options):
    trained = random_generator(family, 16, seed=5, width=8, **options)
    first, second = untrained(trained), untrained(trained)
    assert first.fingerprint == second.fingerprint != untrained(trained, seed=1).fingerprint
    assert first.settings == trained.settings
    assert {n: t.shape for n, t in first.tensors.items()} == {n: t.shape for n, t in trained.tensors.items()}
    kept = {name for name, tensor in first.tensors.items() if np.array_equal(tensor, trained.tensors[name])}
    learnt = [name for name in kept if name.endswith("weight") and name != "input.style.weight"]
    assert learnt == [], "no weight is that of the trained generator"
    labels = torch.eye(3)[:2] if options.get("c_dim") else None
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    deviations = [g.synthesize(g.map(z, labels)).std() for g in (build_generator(first), build_generator(trained))]
    assert 0.1 < deviations[0] / deviations[1] < 10, (
        "its pictures have as much contrast as those of other random weights"
    )
