"""The learned start matrix, start and prior: against their formulas, and the same whatever else happens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from i2s_batch.config import EmbedConfig, LossWeights
from i2s_batch.errors import ConfigError
from i2s_batch.inversion import Embedder, EmbedResult
from i2s_batch.inversion.learned import DAMPING, Learned, Prior
from i2s_batch.inversion.learned_lbfgs import POINTS, LearnedLBFGS
from i2s_batch.inversion.metrics import from_uint8
from tests.inversion.learned_arrays import learned_of
from tests.inversion.linear import LinearGenerator, features

GENERATOR = LinearGenerator()
LEARNED = learned_of(GENERATOR)
FAST = EmbedConfig(steps=40, optimizer="lbfgs-learned", init="learned", prior=1e-3, batch_size=1)
PRESETS = {
    "fast": replace(FAST, stop_plateau=4.0, plateau_steps=10),
    "edit": replace(FAST, prior=1e-2, steps=15),
    "adam": replace(FAST, optimizer="adam", init="mean"),
    "target": replace(FAST, target_psnr=7.0),
}
Images = list[tuple[str, np.ndarray]]


def pictures(count: int) -> Images:
    stream = np.random.default_rng(1)
    return [(f"{i}.png", stream.integers(0, 256, (8, 8, 3), dtype=np.uint8)) for i in range(count)]


def embed(images: Images, config: EmbedConfig, learned: Learned = LEARNED) -> dict[str, EmbedResult]:
    embedder = Embedder(GENERATOR, features, config, learned=learned)
    return {r.image_id: r for r in embedder.embed(images)}


def equal(a: EmbedResult, b: EmbedResult) -> bool:
    same = (a.latent == b.latent).all() and (a.curve == b.curve).all() and (a.term_curves == b.term_curves).all()
    return bool(same) and (a.steps, a.stop_reason, a.prior) == (b.steps, b.stop_reason, b.prior)


def test_the_direction_is_that_of_the_matrix_of_bfgs() -> None:
    """H <- (I - rho s y') H (I - rho y s') + rho s s', from the scaled blocks, on pairs of which two do not count."""
    torch.manual_seed(0)
    layers, w_dim = 2, 3
    n = layers * w_dim
    roots = torch.randn(layers, w_dim, w_dim, dtype=torch.float64)
    blocks = roots @ roots.mT + 0.1 * torch.eye(w_dim, dtype=torch.float64)
    start = torch.block_diag(*blocks)
    curvature = torch.diag(torch.linspace(0.5, 3, n, dtype=torch.float64))
    points = torch.randn(POINTS, n, dtype=torch.float64)
    points[4] = points[3]  # no step
    gradients = points @ curvature
    gradients[20:] -= 50 * (points[20] - points[19])  # the loss curves downwards along one
    s, y = points.diff(dim=0), gradients.diff(dim=0)
    counting = [i for i in range(POINTS - 1) if s[i] @ y[i] > 0]
    assert len(counting) == POINTS - 3
    one = torch.eye(n, dtype=torch.float64)
    newest = counting[-1]
    h = (s[newest] @ y[newest]) / (y[newest] @ start @ y[newest]) * start
    for i in counting:
        rho = 1 / (s[i] @ y[i])
        h = (one - rho * torch.outer(s[i], y[i])) @ h @ (one - rho * torch.outer(y[i], s[i]))
        h = h + rho * torch.outer(s[i], s[i])
    found = LearnedLBFGS(blocks).direction(points[None], gradients[None])[0]
    torch.testing.assert_close(found, -h @ gradients[-1], rtol=1e-9, atol=1e-9)


def test_the_first_step_is_that_of_newton_with_the_average_curvature() -> None:
    matrix = LEARNED.start_matrix(1e-2)
    blocks, layers, w_dim = LEARNED.blocks.double(), GENERATOR.num_layers, GENERATOR.w_dim
    one = torch.eye(w_dim, dtype=torch.float64)
    damping = DAMPING * max(torch.linalg.eigvalsh(block)[-1] for block in blocks)
    for block, inverse in zip(blocks, matrix, strict=True):
        hessian = 2 * block + 2 * damping * one + 2 * 1e-2 / (layers * w_dim) * LEARNED.prior_matrix()
        torch.testing.assert_close(inverse @ hessian, one, rtol=0, atol=1e-9)
    rule = LearnedLBFGS(matrix)
    x, gradient = torch.randn(2, 1, layers, w_dim, dtype=torch.float64)
    kept = rule.start(x[0])[None]
    better = torch.tensor([True])
    new, m, v = rule.update(x, gradient, kept, kept, torch.tensor([1]), better)
    step = -torch.einsum("lij,blj->bli", matrix, gradient)
    torch.testing.assert_close(new, x + step)
    assert (m[0] == x).all() and (v[0] == gradient).all()


def test_a_step_that_was_too_long_is_shortened_to_where_the_slope_vanishes() -> None:
    """Along a parabola the two slopes tell its minimum; the bounds are a tenth and a half."""
    rule = LearnedLBFGS(torch.eye(1, dtype=torch.float64)[None])
    for minimum, fraction in ((0.3, 0.3), (0.02, 0.1), (0.9, 0.5)):
        x = torch.zeros(1, 1, 1, dtype=torch.float64)
        slope = -2 * torch.full((1, 1, 1), minimum, dtype=torch.float64)
        m, v = x[:, None].expand(-1, POINTS, -1, -1), slope[:, None].expand(-1, POINTS, -1, -1)
        new, *_ = rule.update(x + 1, slope + 2, m, v, torch.tensor([5]), torch.tensor([False]))
        assert float(new) == pytest.approx(fraction)


def test_where_shortening_comes_to_nothing_the_memory_is_given_up() -> None:
    rule = LearnedLBFGS(torch.eye(2, dtype=torch.float64)[None])
    m = torch.randn(1, POINTS, 1, 2, dtype=torch.float64)
    v = 3 * m
    best, gradient = m[0, -1].clone(), v[0, -1].clone()
    new, m, v = rule.update(best[None] + 1e-8, gradient[None], m, v, torch.tensor([9]), torch.tensor([False]))
    assert (m[0] == best).all() and (v[0] == gradient).all()
    torch.testing.assert_close(new[0], best - gradient)


def test_reaches_the_minimum_of_loss_and_prior_at_once() -> None:
    """Everything is quadratic: the minimum is known, and the start matrix lacks only what couples the layers."""
    weights = LossWeights(pixel=1, conv1_1=0, conv1_2=0, conv3_2=0, conv4_2=0)
    learned = learned_of(GENERATOR, weights)
    (image,) = pictures(1)
    result = embed([image], replace(FAST, loss_weights=weights, prior=0.5, steps=25), learned)[image[0]]
    target = from_uint8(image[1], GENERATOR.w_avg).flatten()
    layers, w_dim = GENERATOR.num_layers, GENERATOR.w_dim
    matrix, mean = GENERATOR.matrix * 0.3, GENERATOR.w_avg.repeat(layers)
    unlikely = torch.block_diag(*[learned.prior_matrix()] * layers) * 0.5 / (layers * w_dim)
    hessian = matrix.T @ matrix / len(target) + unlikely
    best = torch.linalg.solve(hessian, matrix.T @ target / len(target) + unlikely @ mean)
    np.testing.assert_allclose(result.latent.ravel(), best.numpy(), atol=1e-5)
    pure = (matrix @ best - target).square().mean().item()
    assert result.loss == pytest.approx(pure, rel=1e-9)
    offset = best - mean
    assert result.prior == pytest.approx((offset @ unlikely @ offset).item(), rel=1e-4)


def test_the_prior_counts_each_layer_and_has_the_gradient_of_its_value() -> None:
    torch.manual_seed(0)
    prior = Prior(0.7, LEARNED.prior_matrix(), GENERATOR.w_avg)
    ws = torch.randn(2, GENERATOR.num_layers, GENERATOR.w_dim, dtype=torch.float64, requires_grad=True)
    values = [
        sum(0.7 * (w - GENERATOR.w_avg) @ prior.matrix @ (w - GENERATOR.w_avg) for w in latent) / latent.numel()
        for latent in ws
    ]
    torch.testing.assert_close(prior(ws), torch.stack(values))
    assert torch.autograd.gradcheck(prior, ws)


def test_the_start_is_what_the_regression_predicts_and_never_far_out() -> None:
    w = GENERATOR.w_avg + 0.5 * torch.randn(
        3, GENERATOR.w_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(4)
    )
    images = GENERATOR.synthesize(w[:, None].expand(-1, GENERATOR.num_layers, -1))
    torch.testing.assert_close(LEARNED.start(images, features(images), GENERATOR.w_avg), w, rtol=0, atol=1e-3)
    far = 1e4 * images
    offset = LEARNED.start(far, features(far), GENERATOR.w_avg) - GENERATOR.w_avg
    longest = 1.5 * LEARNED.covariance.trace().sqrt().double()
    torch.testing.assert_close(offset.norm(dim=1), longest.expand(3))


@pytest.mark.parametrize("preset", PRESETS)
def test_neighbours_make_no_difference(preset: str) -> None:
    images = pictures(5)
    alone = embed(images, PRESETS[preset])
    for size in (2, 3):
        together = embed(images[::-1], replace(PRESETS[preset], batch_size=size))
        for name, _ in images:  # rounding apart: the linear generator is one product of matrices
            one, other = alone[name], together[name]
            assert (one.steps, one.stop_reason) == (other.steps, other.stop_reason)
            np.testing.assert_allclose(one.latent, other.latent, rtol=0, atol=1e-7)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("end", [1, 4, 11])
def test_an_interrupted_image_ends_as_one_that_was_not(preset: str, end: int) -> None:
    (image,) = pictures(1)
    whole = embed([image], PRESETS[preset])[image[0]]
    first = Embedder(GENERATOR, features, PRESETS[preset], learned=LEARNED)
    first.put(*image)
    counted = iter(range(min(end, len(whole.curve) - 1) - 1))  # at the latest before its last evaluation
    assert first.advance(stop=lambda: next(counted, None) is None) == []
    (state,) = first.snapshot()
    second = Embedder(GENERATOR, features, PRESETS[preset], learned=LEARNED)
    second.put(*image, type(state).from_bytes(state.to_bytes()))
    (resumed,) = second.advance()
    assert equal(whole, resumed)


@pytest.mark.parametrize("preset", ["fast", "edit"])
def test_the_result_is_the_best_point_and_its_own_loss(preset: str) -> None:
    config = PRESETS[preset]
    for result in embed(pictures(4), config).values():
        learned_prior = Prior(config.prior, LEARNED.prior_matrix(), GENERATOR.w_avg)
        penalty = float(learned_prior(torch.from_numpy(result.latent)[None]))
        assert result.prior == pytest.approx(penalty, rel=1e-12)
        assert result.loss == result.curve[-1] and len(result.curve) == result.steps + 1
        assert result.loss <= result.curve[0]


def test_early_stopping_looks_at_the_loss_without_the_prior_and_ends_at_the_best_point() -> None:
    for result in embed(pictures(4), PRESETS["fast"]).values():
        assert result.stop_reason == "plateau" and 10 <= result.steps <= 40
        last_window = result.curve[: (result.steps // 10) * 10 + 1]
        assert last_window.min() > 0.96 * last_window[:-10].min()


def test_a_target_ends_an_image_at_the_first_point_that_reaches_it() -> None:
    images = pictures(3)
    whole = embed(images, FAST)
    for name, image in images:
        curve = whole[name].curve
        goal = float(curve[3]) * 1.0001
        result = embed([(name, image)], replace(FAST, target_loss=goal))[name]
        first = int(np.flatnonzero(curve <= goal)[0])
        assert (result.stop_reason, result.steps) == ("target", first)
        np.testing.assert_array_equal(result.curve, curve[: first + 1])
        psnr = 10 * np.log10(4 / whole[name].term_curves[:, 0])
        reached = embed([(name, image)], replace(FAST, target_psnr=float(psnr[3]) - 1e-6))[name]
        assert (reached.stop_reason, reached.steps) == ("target", int(np.flatnonzero(psnr >= psnr[3] - 1e-6)[0]))


def test_a_learned_file_is_needed_and_must_be_of_these_networks() -> None:
    for config in (replace(FAST, optimizer="adam", prior=0), replace(FAST, init="mean", prior=0), EmbedConfig(prior=1)):
        with pytest.raises(ConfigError, match="needs a learned file; give learned=load_learned"):
            Embedder(GENERATOR, features, config)
    for other, message in (
        (
            replace(LEARNED, generator="ab" * 32),
            "not belong to this generator: it was learned for the generator aba",
        ),
        (replace(LEARNED, vgg="cd" * 32), "does not belong to this VGG-16"),
        (replace(LEARNED, weights=LossWeights(pixel=2)), "other loss weights: pixel 2, conv1_1 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            Embedder(GENERATOR, features, FAST, learned=other)
    with pytest.raises(ConfigError, match=r"different fingerprints, aaaaaaaaaaaa\.\.\. and bbbb"):
        Embedder(GENERATOR, features, replace(FAST, learned="a" * 64), learned=replace(LEARNED, fingerprint="b" * 64))
    with pytest.raises(ConfigError, match=r"space is 'w'; with init learned it must be w\+"):
        EmbedConfig(init="learned", space="w")


def test_settings_without_it_are_recorded_as_before() -> None:
    assert not {"prior", "target_loss", "target_psnr", "learned"} & EmbedConfig().identity().keys()
    found = replace(FAST, learned="ab", target_loss=0.1).identity()
    assert (found["prior"], found["learned"], found["target_loss"], found["optimizer"]) == (
        1e-3,
        "ab",
        0.1,
        "lbfgs-learned",
    )
