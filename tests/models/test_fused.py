"""The fused synthesis against the plain one: the same images and gradients, in any layout."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from i2s_batch.models import build_fused, build_generator, random_generator
from i2s_batch.models.fused_operators import (
    Blur,
    Colours,
    StyledActivation,
    block_kernel,
    compose,
    depth_to_space,
    phase_kernel,
    space_to_depth,
    upsample_colours,
)
from i2s_batch.models.operators import blur_kernel, styled_instance_norm, upsample_fir

from .test_networks import codes, small


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def blocked(x: torch.Tensor) -> torch.Tensor:
    return space_to_depth(x).movedim(0, 1).flatten(1, 2)


CASES = [("stylegan1", {}, 32), ("stylegan1", {}, 8)]
CASES += [("stylegan2", {"architecture": a}, 32) for a in ("skip", "resnet", "orig")]


@pytest.mark.parametrize(("family", "options", "resolution"), CASES)
def test_images_and_gradients_are_those_of_the_plain_network(family: str, options: dict, resolution: int) -> None:
    weights = small(family, resolution, **options)
    plain, fused = build_generator(weights, dtype=torch.float64), build_fused(weights, "cpu", torch.float64)
    ws = codes(weights, 2)
    towards = normal(2, 3, resolution, resolution)
    found = []
    for synthesis in (plain.synthesize, fused):
        leaf = ws.clone().requires_grad_()
        image = synthesis(leaf)
        (gradient,) = torch.autograd.grad((image * towards).sum(), leaf)
        found.append((image.detach(), gradient))
    (image, gradient), (other, of_other) = found
    assert (image - other).abs().max() <= 1e-11 * image.abs().max()
    assert (gradient - of_other).abs().max() <= 1e-10 * gradient.abs().max()


def test_a_clamp_is_kept() -> None:
    weights = small("stylegan2", 16, conv_clamp=0.8)
    ws = codes(weights, 1)
    image = build_fused(weights, "cpu", torch.float64)(ws)
    assert (image - build_generator(weights, dtype=torch.float64).synthesize(ws)).abs().max() < 1e-11


def test_a_generator_builds_its_fused_twin_and_stylegan3_has_none() -> None:
    generator = build_generator(small("stylegan1", 16), dtype=torch.float64)
    ws = codes(small("stylegan1", 16), 1)
    assert generator.build_fused is not None
    assert (generator.build_fused("nhwc")(ws) - generator.synthesize(ws)).abs().max() < 1e-11
    assert build_generator(small("stylegan3", 16)).build_fused is None


def test_more_channels_than_blocks_are_worth_stay_as_they_are() -> None:
    weights = random_generator("stylegan1", 16, seed=1, width=24, channel_base=512)
    ws = codes(weights, 2)
    image = build_fused(weights, "cpu", torch.float64)(ws)
    assert (image - build_generator(weights, dtype=torch.float64).synthesize(ws)).abs().max() < 1e-11


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("groups", [1, 4])
def test_styled_activation_is_the_chain_of_plain_operators(groups: int, dtype: torch.dtype) -> None:
    batch, channels, side = 2, 3, 5
    t = normal(batch, groups, channels, side, side).to(dtype).requires_grad_()
    bias, noise, strength = (normal(*s, seed=1).to(dtype) for s in ((3,), (groups, 1, 5, 5), (3, 1, 1)))
    scale, shift = (normal(batch, channels, seed=s).to(dtype).requires_grad_() for s in (2, 3))
    ours = StyledActivation.apply(t, bias, noise, strength, scale, shift)
    x = F.leaky_relu(t + noise * strength + bias[:, None, None], 0.2)
    plain = styled_instance_norm(x.transpose(1, 2).flatten(2)[..., None], scale, shift)
    plain = plain.reshape(batch, channels, groups, side, side).transpose(1, 2)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    assert (ours - plain).abs().max() < tolerance
    towards = normal(*t.shape, seed=4).to(dtype)
    pairs = (torch.autograd.grad((y * towards).sum(), (t, scale, shift)) for y in (ours, plain))
    for a, b in zip(*pairs, strict=True):
        assert (a - b).abs().max() < 20 * tolerance


def test_gradients_against_finite_differences() -> None:
    t = normal(2, 1, 2, 3, 3).requires_grad_()
    bias, noise, strength = normal(2, seed=1), normal(1, 1, 3, 3, seed=2), normal(2, 1, 1, seed=3)
    scale, shift = (normal(2, 2, seed=s).requires_grad_() for s in (4, 5))
    assert torch.autograd.gradcheck(
        lambda *args: StyledActivation.apply(args[0], bias, noise, strength, *args[1:]), (t, scale, shift)
    )
    kernel = blur_kernel((1, 2, 1)).repeat(2, 1, 1, 1)
    assert torch.autograd.gradcheck(lambda x: Blur.apply(x, kernel), (normal(1, 2, 4, 4).requires_grad_(),))
    x, weight = normal(2, 2, 3, 2, 2).requires_grad_(), normal(2, 3, 3, seed=6).requires_grad_()
    assert torch.autograd.gradcheck(Colours.apply, (x, weight))


def test_a_transposed_convolution_by_phases() -> None:
    x, kernel = normal(2, 3, 5, 4), normal(3, 2, 6, 6, seed=1)
    whole = F.conv_transpose2d(x, kernel, stride=2, padding=2)
    phases = F.conv2d(x, phase_kernel(kernel), padding=1)
    assert (depth_to_space(phases) - whole).abs().max() < 1e-12
    assert (blocked(whole) - phases).abs().max() < 1e-12


def test_a_convolution_between_blocks() -> None:
    x, kernel = normal(2, 3, 6, 8), normal(2, 3, 3, 3, seed=1)
    whole = F.conv2d(x, kernel, padding=1)
    between = F.conv2d(blocked(x), block_kernel(kernel), padding=1)
    assert (depth_to_space(between) - whole).abs().max() < 1e-12


def test_composed_kernels_act_one_after_the_other() -> None:
    x, first, second = normal(1, 2, 4, 4), normal(2, 3, 3, 3, seed=1), normal(4, 4, seed=2)
    one_by_one = F.conv_transpose2d(F.conv_transpose2d(x, first), second.repeat(3, 1, 1, 1), groups=3)
    assert (F.conv_transpose2d(x, compose(first, second)) - one_by_one).abs().max() < 1e-12


def test_colours_double_as_by_the_transposed_convolution() -> None:
    x = normal(2, 3, 4, 6)
    line = (0.25, 0.75, 0.75, 0.25)
    assert (upsample_colours(x, line) - upsample_fir(x, blur_kernel((1, 3, 3, 1), 4.0))).abs().max() < 1e-12


def test_channels_last_memory_changes_nothing() -> None:
    weights = small("stylegan1", 16)
    ws = codes(weights, 2)
    images = [build_fused(weights, "cpu", torch.float64, layout=layout)(ws) for layout in ("nchw", "nhwc")]
    assert (images[0] - images[1]).abs().max() < 1e-12


@pytest.mark.parametrize("family", ["stylegan1", "stylegan2"])
def test_bfloat16_activations_give_images_near_those_of_float32(family: str) -> None:
    weights = small(family, 16)
    ws = codes(weights, 2).float()
    exact = build_generator(weights).synthesize(ws)
    image = build_fused(weights, "cpu", torch.float32, torch.bfloat16)(ws)
    assert image.dtype == torch.float32
    assert 0 < (image - exact).square().mean().sqrt() < 0.03 * exact.std()
