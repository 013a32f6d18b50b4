"""Measures the final 8-bit image against its target at full resolution, peak 255."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F

from i2s_batch.engine_registries import METRICS

PEAK = 255.0

# LPIPS: images [1, 3, R, R] in [-1, 1], twice -> a distance.
PerceptualDistance = Callable[[torch.Tensor, torch.Tensor], float]


def to_uint8(image: torch.Tensor) -> np.ndarray:
    """Return an image [3, R, R] of nominal range [-1, 1], clipped and rounded, as uint8 [R, R, 3]."""
    levels = ((image.detach() + 1) * (PEAK / 2)).round().clamp(0, PEAK)
    return levels.to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def from_uint8(image: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """Return uint8 [R, R, 3] as [3, R, R] in [-1, 1], with the dtype and device of `like`."""
    levels = torch.from_numpy(np.array(image)).permute(2, 0, 1).to(like.device, like.dtype)
    return levels / (PEAK / 2) - 1


def mse(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean squared error of two uint8 images, in squared levels."""
    return float(np.square(a.astype(np.float64) - b.astype(np.float64)).mean())


def psnr(mse_value: float) -> float:
    """Return the peak signal-to-noise ratio in dB of a mean squared error in squared levels, peak 255."""
    return math.inf if mse_value == 0 else 10 * math.log10(PEAK**2 / mse_value)


def ssim(a: np.ndarray, b: np.ndarray, device: torch.device | str = "cpu") -> float:
    """Return the mean structural similarity (Wang et al., 2004) of two uint8 [R, R, 3] images.

    Gaussian window of 11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03, mean over channels and over the positions
    where the whole window fits (an image smaller than the window gets a smaller one).
    """
    x, y = (torch.from_numpy(p.astype(np.float64)).to(device).permute(2, 0, 1)[:, None] for p in (a, b))
    size = min(11, x.shape[-1] - (x.shape[-1] + 1) % 2)
    offsets = torch.arange(size, dtype=torch.float64, device=device) - size // 2
    window = torch.exp(-offsets.square() / (2 * 1.5**2))
    window = window / window.sum()

    def blur(t: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.conv2d(t, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))

    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    mu_x, mu_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mu_x**2, blur(y * y) - mu_y**2
    cov = blur(x * y) - mu_x * mu_y
    similarity = (2 * mu_x * mu_y + c1) * (2 * cov + c2) / ((mu_x**2 + mu_y**2 + c1) * (var_x + var_y + c2))
    return float(similarity.mean())


def build_lpips(vgg_tensors: Mapping[str, np.ndarray], device: torch.device) -> PerceptualDistance:
    """Return LPIPS (Zhang et al., 2018), version 0.1, VGG: heads of the `lpips` package, trunk from `vgg_tensors`.

    `vgg_tensors` holds all 13 convolutions of a VGG-16 under torchvision's names.
    """
    with warnings.catch_warnings():
        # lpips builds its trunk with arguments that torchvision has deprecated.
        warnings.simplefilter("ignore", UserWarning)
        import lpips

        network = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    trunk = {}
    for name, value in vgg_tensors.items():
        layer = name.removeprefix("features.")
        trunk[f"{_lpips_slice(int(layer.split('.')[0]))}.{layer}"] = torch.from_numpy(np.array(value))
    network.net.load_state_dict(trunk)
    network = network.eval().requires_grad_(False).to(device, torch.float32)

    def distance(a: torch.Tensor, b: torch.Tensor) -> float:
        with torch.no_grad():
            return float(network(a.float(), b.float()))

    return distance


def _lpips_slice(index: int) -> str:
    """Return the part of lpips' trunk that holds torchvision's layer `features.<index>`."""
    starts = (0, 4, 9, 16, 23)
    return f"slice{sum(index >= start for start in starts)}"


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Holds the final image of a latent and its target, uint8 [R, R, 3], for the metrics to compare.

    Attributes:
        image: The image.
        target: The target.
        like: A tensor with the dtype and device to compute with.
        perceptual: The perceptual distance; None without weights for LPIPS.
        latent: The latent [L, w_dim]; None where images alone are compared.
        w_avg: The mean latent [w_dim] of its generator; None with `latent`.
    """

    image: np.ndarray
    target: np.ndarray
    like: torch.Tensor
    perceptual: PerceptualDistance | None = None
    latent: torch.Tensor | None = None
    w_avg: torch.Tensor | None = None

    @cached_property
    def mse(self) -> float:
        """Return the mean squared error, computed once."""
        return mse(self.image, self.target)


# The target of each declaration in `engine_registries.METRICS`; it returns None where the metric is not available.
Measure = Callable[[Reconstruction], float | None]


def measure(reconstruction: Reconstruction) -> dict[str, float | None]:
    """Return every metric by name, without those that need a latent if there is none."""
    values: dict[str, float | None] = {}
    for declaration in METRICS:
        if reconstruction.latent is not None or not declaration.needs_latent:
            function: Measure = declaration.resolve()
            values[declaration.name] = function(reconstruction)
    return values


# On a GPU one image is measured at a time: a whole batch that ends together would want memory for as many of LPIPS.
_ON_GPU = threading.Lock()


class LazyMetrics(Mapping[str, float | None]):
    """Measures a reconstruction when the first metric is asked for, in the thread that asks, and once.

    So the loop of steps need not wait for what is computed of its results. Pickled or copied, it is a dictionary.
    """

    def __init__(self, reconstruction: Reconstruction) -> None:
        self._reconstruction = reconstruction
        self._lock = threading.Lock()
        self._values: dict[str, float | None] | None = None

    def _measured(self) -> dict[str, float | None]:
        with self._lock:
            if self._values is None:
                on_gpu = self._reconstruction.like.device.type == "cuda"
                with _ON_GPU if on_gpu else nullcontext():
                    self._values = measure(self._reconstruction)
            return self._values

    def __reduce__(self) -> tuple[type[dict[str, float | None]], tuple[dict[str, float | None]]]:
        """Return how it is pickled and copied."""
        return dict, (dict(self._measured()),)

    def __getitem__(self, name: str) -> float | None:
        """Return a metric by its name."""
        return self._measured()[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._measured())

    def __len__(self) -> int:
        """Return the number of metrics."""
        return len(self._measured())

    def __repr__(self) -> str:
        """Return the metrics as a dictionary shows them."""
        return repr(self._measured())


def image_metrics(
    image: np.ndarray, target: np.ndarray, perceptual: PerceptualDistance | None, like: torch.Tensor
) -> dict[str, float | None]:
    """Return the metrics of two uint8 [R, R, 3] images that need no latent: mse, psnr, ssim and lpips.

    `lpips` is None without a perceptual network.
    """
    return measure(Reconstruction(image, target, like, perceptual))


def measure_w_distance(reconstruction: Reconstruction) -> float | None:
    """Return the Euclidean norm of latent - w_avg over all layers."""
    latent, w_avg = reconstruction.latent, reconstruction.w_avg
    return None if latent is None or w_avg is None else float((latent - w_avg).norm())


def measure_mse(reconstruction: Reconstruction) -> float:
    """Return the mean squared error, in squared levels."""
    return reconstruction.mse


def measure_psnr(reconstruction: Reconstruction) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    return psnr(reconstruction.mse)


def measure_ssim(reconstruction: Reconstruction) -> float:
    """Return the mean structural similarity."""
    return ssim(reconstruction.image, reconstruction.target, reconstruction.like.device)


def measure_lpips(reconstruction: Reconstruction) -> float | None:
    """Return LPIPS; None without its weights."""
    if reconstruction.perceptual is None:
        return None
    image, target = (from_uint8(i, reconstruction.like)[None] for i in (reconstruction.image, reconstruction.target))
    return reconstruction.perceptual(image, target)
