"""Chooses how a step is executed on a device. A step program changes no result beyond rounding."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from i2s_batch.config import EmbedConfig
from i2s_batch.engine_registries import OPTIMIZERS
from i2s_batch.inversion.spaces import GeneratorLike

# Below this resolution, or for fewer steps, compiling (half a minute to two minutes) takes longer than it saves.
COMPILED_RESOLUTION = 256
COMPILED_STEPS = 500


@dataclass(frozen=True)
class StepProgram:
    """Holds how the step of a batch runs.

    Attributes:
        compiled: Whether loss and gradient are one compiled program, and the update another.
        graph: Whether the whole step is replayed as one CUDA graph, on state buffers of full size that never move.
        layout: Memory layout of kernels and activations: nchw, or nhwc (channels last).
        fused: Whether compiled steps use the generator's fused operators, where its family has them.
        backend: The compiler, by PyTorch's name for it.
    """

    compiled: bool = False
    graph: bool = False
    layout: str = "nchw"
    fused: bool = False
    backend: str = "inductor"

    @property
    def name(self) -> str:
        """Return its settings in words: plain, or compiled nchw, or compiled nhwc fused graph."""
        if not self.compiled:
            return "plain"
        extras = " fused" * self.fused + " graph" * self.graph
        return f"compiled {self.layout}{extras}" + ("" if self.backend == "inductor" else f" by {self.backend}")


PLAIN = StepProgram()


def choose_program(config: EmbedConfig, generator: GeneratorLike) -> StepProgram:
    """Return the step program of a run: plain on a CPU, compiled on a GPU, unless `config.compile` decides.

    Where that is None, a GPU compiles generators that are large enough, of families that have fused operators, in TF32
    or bfloat16: in float32 without TF32 no GPU has shown a gain yet.
    """
    on_gpu = generator.w_avg.device.type == "cuda"
    has_fused = generator.build_fused is not None
    compiled = config.compile
    if compiled is None:
        worthwhile = generator.resolution >= COMPILED_RESOLUTION and config.steps >= COMPILED_STEPS
        fast = generator.activations == torch.bfloat16 or torch.backends.cudnn.allow_tf32
        compiled = on_gpu and has_fused and worthwhile and fast
    if not compiled:
        return PLAIN
    if not on_gpu:
        return StepProgram(compiled=True)
    graph = OPTIMIZERS.get(config.optimizer).capturable
    return StepProgram(compiled=True, graph=graph, layout="nhwc", fused=has_fused)
