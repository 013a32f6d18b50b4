"""Estimates how long a run takes and what it costs, from the speeds that were measured on this machine.

There is one such function: `--dry-run`, `i2s-batch doctor` and the first status line of a run give its result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from i2s_batch.config import EmbedRunConfig, Json
from i2s_batch.run.speed_cache import Measured

CPU = "cpu ("  # with which the name of a CPU begins (run.device.device_name)
COMPILED = "compiled"  # with which the name of a compiled step program begins (inversion.step_program)


@dataclass(frozen=True)
class Work:
    """Holds what is to be done.

    Attributes:
        generator: The generator's fingerprint.
        precision: The precision.
        images: The number of images.
        steps: The steps of an image.
        batch_size: The images in a batch, if that is asked for.
        compiled: Whether the step is compiled; None where the device decides.
        optimizer: The optimizer.
    """

    generator: str
    precision: str
    images: int
    steps: int
    batch_size: int | None = None
    compiled: bool | None = None
    optimizer: str = "adam"

    @classmethod
    def of(cls, generator: str, config: EmbedRunConfig, images: int) -> Work:
        """Return the work of a run with these settings; images that end early take less."""
        steps = config.embed.steps + config.embed.noise_steps
        how = (config.batch_size, config.embed.compile, config.embed.optimizer)
        return cls(generator, config.precision, images, steps, *how)

    def suits(self, one: Measured) -> bool:
        """Return whether a figure is of this generator, precision and optimizer, and of a step that would be taken."""
        compiled = False if self.compiled is None and one.device.startswith(CPU) else self.compiled
        is_compiled = one.program.startswith(COMPILED)
        measured = (one.generator, one.precision, one.optimizer)
        return measured == (self.generator, self.precision, self.optimizer) and compiled in (None, is_compiled)


@dataclass(frozen=True)
class Estimate:
    """Holds how long a run would take on devices of one kind, and what it would cost; None if no price is known."""

    device: str
    batch_size: int
    seconds_per_step_and_image: float
    workers: int
    hours: float
    cost: float | None

    def to_json(self) -> dict[str, Json]:
        """Return it as JSON values; without a price there is no cost."""
        values: dict[str, Json] = asdict(self)
        if self.cost is None:
            del values["cost"]
        return values


def estimates(known: Iterable[Measured], work: Work, workers: int | None, price: float | None) -> list[Estimate]:
    """Return how long the work takes on each known device, at its fastest batch size or the one that is asked for.

    Args:
        known: The measured speeds.
        work: What is to be done.
        workers: The number of workers that share it; None counts one.
        price: The price of one worker's device an hour; None: no cost is given.
    """
    fitting = [one for one in known if work.suits(one)]
    of_batch = [one for one in fitting if one.batch_size == work.batch_size]
    fastest: dict[str, Measured] = {}
    for one in sorted(of_batch or fitting, key=lambda one: -one.seconds):
        fastest[one.device] = one
    return [_estimate(one, work, max(1, min(workers or 1, work.images)), price) for _, one in sorted(fastest.items())]


def _estimate(one: Measured, work: Work, workers: int, price: float | None) -> Estimate:
    """Return the estimate from one figure: the slowest worker has the most images, and each starts once."""
    most_images = -(-work.images // workers)
    seconds = one.start_s + most_images * (work.steps * one.seconds + one.image_s) if work.images else 0.0
    hours = seconds / 3600
    cost = None if price is None else hours * workers * price
    return Estimate(one.device, one.batch_size, one.seconds, workers, hours, cost)
