"""Defines what is examined: the run that is asked about, and what one check leaves for the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from i2s_batch.config import EmbedRunConfig
from i2s_batch.sources.options import AS_USUAL, SourceOptions

if TYPE_CHECKING:
    from i2s_batch.diagnosis.speed_probe import Speed, SpeedAsked
    from i2s_batch.diagnosis.workers import Workers
    from i2s_batch.inversion.learned import Learned
    from i2s_batch.models import GeneratorWeights, VGGWeights
    from i2s_batch.parquet.sorted_rows import SpilledRows


def _silent(line: str) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Asked:
    """Holds the run that is asked about, as values that travel to the nodes of a cluster; what is empty is not checked.

    Attributes:
        config: The settings of the run.
        source: The images.
        out: The output.
        generator: The path or URL of the generator.
        vgg: The VGG-16, likewise, or a name.
        source_options: How SOURCE is read.
        learned: The learned file, where the settings need one.
        price_per_hour: The price of one worker's device; None: no cost is estimated.
        gpus: How many GPUs Ray counts on this node; None where it was not asked.
        root: The root of the file system whose /proc and /sys are read.
    """

    config: EmbedRunConfig
    source: str = ""
    out: str = ""
    generator: str = ""
    vgg: str = "imagenet"
    source_options: SourceOptions = AS_USUAL
    learned: Learned | None = None
    price_per_hour: float | None = None
    gpus: int | None = None
    root: str = "/"

    def on_node(self, gpus: int) -> Asked:
        """Return what is asked of a node of a cluster, on which Ray counts so many GPUs."""
        return replace(self, gpus=gpus, learned=None)


@dataclass
class Known:
    """Holds what the checks of one examination have learned; each is None until its check has succeeded.

    Attributes:
        show: Shows on a terminal what is being done.
        images: The images of SOURCE.
        generator: The weights of the generator.
        vgg: The weights of the VGG-16.
        load_s: The seconds that reading the networks took.
        cores: The cores that this process may use.
        memory_bytes: The memory that is left for it.
        has_gpu: Whether PyTorch sees a GPU here.
        workers: The workers of a cluster that a run joins; None on this machine alone.
        on_worker: Measures the speed where a worker of that cluster would; None on this machine alone.
        failed: The groups that have a finding with which a run would fail.
    """

    show: Callable[[str], None] = _silent
    images: SpilledRows | None = None
    generator: GeneratorWeights | None = None
    vgg: VGGWeights | None = None
    load_s: float = 0.0
    cores: float = 1.0
    memory_bytes: int | None = None
    has_gpu: bool = False
    workers: Workers | None = None
    on_worker: Callable[[Callable[[SpeedAsked], Speed], SpeedAsked], Speed] | None = None
    failed: set[str] = field(default_factory=set)
