from __future__ import annotations

import copy
import math
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from i2s_batch.config import EmbedConfig, LossWeights
from i2s_batch.images.resize import fit_image
from i2s_batch.inversion import Embedder, metrics
from i2s_batch.inversion.loss import loss_terms, loss_weight_vector
from i2s_batch.inversion.metrics import build_lpips, from_uint8, image_metrics, mse, psnr, ssim, to_uint8
from i2s_batch.models import random_vgg
from tests.inversion.linear import LinearGenerator, features


def noisy_pair(size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    stream = np.random.default_rng(0)
    a = gaussian_filter(stream.uniform(0, 255, (size, size, 3)), (2, 2, 0)).round().astype(np.uint8)
    b = np.clip(a + stream.normal(0, 12, a.shape), 0, 255).round().astype(np.uint8)
    return a, b


def test_psnr_has_peak_255() -> None:
    a = np.zeros((4, 4, 3), np.uint8)
    assert psnr(mse(a, a + 255)) == 0
    assert psnr(mse(a, a + 1)) == pytest.approx(20 * math.log10(255))
    assert psnr(mse(a, a)) == math.inf


def test_ssim_equals_a_direct_computation() -> None:
    a, b = noisy_pair()
    values = []
    for channel in range(3):
        x, y = a[..., channel].astype(float), b[..., channel].astype(float)

        def blur(t: np.ndarray) -> np.ndarray:
            # truncate: a radius of 5, so a window of 11
            return gaussian_filter(t, 1.5, truncate=3.5)[5:-5, 5:-5]

        mx, my = blur(x), blur(y)
        vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        values.append(((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())
    assert ssim(a, b) == pytest.approx(np.mean(values), abs=1e-12)
    assert ssim(a, a) == pytest.approx(1)


def test_eight_bits_survive_the_way_through_the_engine() -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    like = torch.zeros(1)
    assert np.array_equal(to_uint8(from_uint8(levels, like)), levels)
    assert from_uint8(levels, like).min() == -1 and from_uint8(levels, like).max() == 1
    assert to_uint8(torch.tensor([[[-9.0]], [[9.0]], [[0.0]]])).tolist() == [[[0, 255, 128]]]


def test_loss_is_a_plain_mean_of_squares_per_image_and_layer() -> None:
    stream = torch.Generator().manual_seed(0)
    images, targets = (torch.randn(2, 3, 4, 4, generator=stream, dtype=torch.float64) for _ in range(2))
    shapes = [(2, 5, 4, 4), (2, 5, 4, 4), (2, 6, 2, 2), (2, 7, 1, 1)]
    a, b = ([torch.randn(s, generator=stream, dtype=torch.float64) for s in shapes] for _ in range(2))
    terms = loss_terms(images, targets, a, b)
    for image in range(2):
        pairs = [(images, targets), *zip(a, b, strict=True)]
        expected = [((p[image] - q[image]) ** 2).sum() / p[image].numel() for p, q in pairs]
        torch.testing.assert_close(terms[image], torch.stack(expected))
    weighted = terms @ loss_weight_vector(LossWeights(pixel=2, conv3_2=0), terms)
    torch.testing.assert_close(weighted, 2 * terms[:, 0] + terms[:, 1] + terms[:, 2] + terms[:, 4])


@pytest.mark.parametrize(("fit", "left", "top"), [("crop", 100, 100), ("pad", 100, 0), ("stretch", 40, 100)])
def test_fitting_a_wide_picture(fit: str, left: int, top: int) -> None:
    picture = np.full((40, 80, 3), 100, np.uint8)
    picture[:, :10] = 40  # a dark stripe at the left edge, outside the central square
    fitted = fit_image(picture, 16, fit)
    assert fitted.shape == (16, 16, 3)
    assert abs(int(fitted[8, 0, 0]) - (40 if fit == "pad" else left)) <= 8
    assert abs(int(fitted[0, 8, 0]) - top) <= 8


def test_fitting_leaves_a_picture_of_the_right_size_alone() -> None:
    picture = noisy_pair(16)[0]
    assert fit_image(picture, 16, "crop") is picture


def test_lpips_takes_its_trunk_from_the_given_vgg() -> None:
    """Against torch layers put together by hand from the same weights, and the heads of the package."""
    tensors = random_vgg().tensors
    stream = np.random.default_rng(5)
    full = dict(tensors)
    for index in (21, 24, 26, 28):  # the layers that the loss does not need
        full[f"features.{index}.weight"] = stream.normal(0, 0.02, (512, 512, 3, 3)).astype(np.float32)
        full[f"features.{index}.bias"] = np.zeros(512, np.float32)
    distance = build_lpips(full, torch.device("cpu"))
    a, b = (from_uint8(p, torch.zeros(1))[None] for p in noisy_pair())
    assert distance(a, a) == 0
    first = distance(a, b)
    assert first > 0
    full["features.28.weight"] = full["features.28.weight"][::-1].copy()
    assert build_lpips(full, torch.device("cpu"))(a, b) != first


def test_picture_metrics_without_lpips() -> None:
    a, b = noisy_pair()
    metrics = image_metrics(a, b, None, torch.zeros(1))
    assert metrics["lpips"] is None and metrics["psnr"] == psnr(mse(a, b)) and metrics["ssim"] == ssim(a, b)


def test_lazy_metrics_are_the_metrics_measured_once_in_the_thread_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    image, target = (rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(2))
    latent, w_avg = torch.ones(2, 4).double(), torch.zeros(4).double()
    reconstruction = metrics.Reconstruction(image, target, w_avg, None, latent, w_avg)
    expected = metrics.measure(reconstruction)
    threads: list[int] = []

    def measure(one: metrics.Reconstruction) -> dict[str, float | None]:
        threads.append(threading.get_ident())
        return expected

    monkeypatch.setattr(metrics, "measure", measure)
    lazy = metrics.LazyMetrics(reconstruction)
    assert threads == [], "a result costs the loop of steps nothing"
    with ThreadPoolExecutor(2) as pool:
        found = [future.result() for future in [pool.submit(dict, lazy) for _ in range(4)]]
    assert found == [expected] * 4 and lazy == expected and len(lazy) == len(expected)
    assert len(threads) == 1 and threads[0] != threading.get_ident()
    assert lazy["w_distance"] == pytest.approx(8**0.5) and repr(lazy) == repr(expected)
    assert pickle.loads(pickle.dumps(lazy)) == copy.deepcopy(lazy) == expected


def test_the_latent_of_lazy_metrics_is_not_that_of_the_next_image() -> None:
    """A slot is refilled in place while the result of its last image is in use."""
    config = EmbedConfig(steps=4, batch_size=1)
    images = [(str(i), np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)) for i in range(2)]
    results = list(Embedder(LinearGenerator(), features, config).embed(images))
    for result in results:
        latent, w_avg = torch.from_numpy(result.latent), LinearGenerator().w_avg
        assert result.metrics["w_distance"] == float((latent - w_avg).norm())
