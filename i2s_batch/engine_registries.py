"""Declares the registries of the engine: optimisers, initialisations and metrics. Standard library only.

A new one is a file that defines it, anywhere, and a line here (or, from another program, a call of `add`). The targets
need torch and are typed where they are used: `inversion.optimizer.BuildOptimizer`,
`inversion.initialisation.Initialisation`, `inversion.metrics.Measure`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from i2s_batch.registry import Declaration, Registry

# Precisions that round products: TF32 and bfloat16 keep 10 and 7 bits of float32's 23.
_ROUGH = ("tf32", "bf16")


@dataclass(frozen=True)
class OptimizerDeclaration(Declaration[Any]):
    """Declares an optimiser; its target builds one from the settings of an embedding.

    Args:
        capturable: Whether its update may be part of a CUDA graph.
        may_be_capturable: Whether that is to be found out: its steps are a graph only where one has been measured on
            the device at hand, and has given the losses of the plain step (`inversion.tuning`).
        continues: Whether a run of more steps passes through the end of one of fewer.
        least_window: The least patience of early stopping, in steps, with which it has a chance to improve.
        needs_learned: Whether it needs a learned file (`inversion.learned`).
    """

    capturable: bool = True
    may_be_capturable: bool = False
    continues: bool = True
    least_window: int = 1
    needs_learned: bool = False


@dataclass(frozen=True)
class InitialisationDeclaration(Declaration[Any]):
    """Declares an initialisation; its target prepares one for a latent space.

    Args:
        needs_learned: Whether it needs a learned file (`inversion.learned`).
    """

    needs_learned: bool = False


@dataclass(frozen=True)
class MetricDeclaration(Declaration[Any]):
    """Declares a metric of the final image of a latent, which is a column of the table of the same name.

    `summary` is the meaning of the column, which is null where the metric is not available.

    Args:
        title: Its name in reports.
        reading: How a person reads its values.
        reported: Whether the report of a run has a chart of it.
        needs_latent: Whether it takes the latent, not only the images.
        needs_vgg: Whether it takes the VGG-16.
        tolerance: The relative difference that another machine, thread count or batch may make.
        rough_tolerance: The same in the precisions tf32 and bf16.
    """

    title: str = ""
    reading: str = ""
    reported: bool = True
    needs_latent: bool = False
    needs_vgg: bool = False
    tolerance: float = 2e-3
    rough_tolerance: float = 5e-2

    def tolerance_in(self, precision: str) -> float:
        """Return the relative difference that is no fault in a run of that precision."""
        return self.rough_tolerance if precision in _ROUGH else self.tolerance


OPTIMIZERS = Registry(
    "optimizer",
    [
        OptimizerDeclaration("adam", "The optimiser of the paper.", "i2s_batch.inversion.optimizer:adam_of"),
        OptimizerDeclaration(
            "lbfgs",
            "L-BFGS after some steps of Adam; needs fewer steps.",
            "i2s_batch.inversion.optimizer:lbfgs_of",
            # It solves triangular systems by a library whose calls a CUDA graph may not capture.
            capturable=False,
            # At its last step L-BFGS returns to its best point, so fewer steps are no prefix of more; Adam's are.
            continues=False,
            # Each window of early stopping ends at the best point so far: it must leave time to shorten a step that
            # was too long.
            least_window=25,
        ),
        OptimizerDeclaration(
            "lbfgs-learned",
            "L-BFGS that starts from the learned curvature of the loss; needs the fewest steps.",
            "i2s_batch.inversion.learned_lbfgs:learned_lbfgs_of",
            capturable=False,
            may_be_capturable=True,  # it waits for nothing, but no GPU has captured it yet
            continues=False,
            least_window=10,
            needs_learned=True,
        ),
    ],
)

INITIALISATIONS = Registry[InitialisationDeclaration](
    "init",
    [
        InitialisationDeclaration(
            "mean", "The mean latent, which suits faces.", "i2s_batch.inversion.initialisation:mean"
        ),
        InitialisationDeclaration(
            "random",
            "Uniform random values, drawn for each image from the seed.",
            "i2s_batch.inversion.initialisation:random",
        ),
        InitialisationDeclaration(
            "learned",
            "What the learned regression predicts from the image.",
            "i2s_batch.inversion.initialisation:learned",
            needs_learned=True,
        ),
    ],
)

# The metrics that are columns of every table, in the order of the columns.
OWN_METRICS = (
    MetricDeclaration(
        "w_distance",
        "Euclidean norm of (latent - w_avg) over all layers",
        "i2s_batch.inversion.metrics:measure_w_distance",
        title="‖w* − w_avg‖",
        reading="distance to the mean latent, over all layers; large: out of the generator's distribution",
        needs_latent=True,
    ),
    MetricDeclaration(
        "mse",
        "mean squared error of the final 8-bit image, peak 255",
        "i2s_batch.inversion.metrics:measure_mse",
        title="MSE",
        reading="0 is equal; lower is better",
        reported=False,  # psnr is a function of it
    ),
    MetricDeclaration(
        "psnr",
        "dB, peak 255; infinite when mse is 0",
        "i2s_batch.inversion.metrics:measure_psnr",
        title="PSNR",
        reading="dB, of the final 8-bit image; higher is better",
    ),
    MetricDeclaration(
        "ssim",
        "mean SSIM of the final 8-bit image, Gaussian window 11, sigma 1.5",
        "i2s_batch.inversion.metrics:measure_ssim",
        title="SSIM",
        reading="1 is equal; higher is better",
    ),
    MetricDeclaration(
        "lpips",
        "LPIPS (VGG); null without ImageNet VGG weights",
        "i2s_batch.inversion.metrics:measure_lpips",
        title="LPIPS",
        reading="0 is equal; lower is better",
        needs_vgg=True,
    ),
)
METRICS = Registry(
    "metric",
    [
        *OWN_METRICS,
    ],
)
