"""One step of the engine in the way that a case names, over networks and images that are the same for all cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.gpu.bench import Bench
from tests.gpu.cases import Case
from tests.gpu.in_place import in_place_step
from tests.gpu.materials import drawn_network, image

STEPS = 5000  # an image's, for `s_image`


class Loop:
    """The engine with its networks. `lines`: the separable blurs of the generator, by size, once it is built."""

    def __init__(self, bench: Bench, case: Case) -> None:
        self._bench, self._case = bench, case
        self.lines: dict[int, list[float]] = {}
        self._plain_losses: list[float] = []

    def build(self) -> None:
        """Build the networks, or take those of the case before if they are the same."""
        from i2s_batch.inversion.numerics import feature_map_dtype, set_numerics

        case = self._case
        dtype, maps = set_numerics(case.precision), feature_map_dtype(case.precision)
        key = (case.family, case.precision, case.layout)
        if self._bench.cached[0] != key:
            self._bench.cached = (None, None)  # frees the memory before more is taken
            self._bench.cached = (key, self._networks(dtype, maps))
        self._generator, self._vgg, lines = self._bench.cached[1]
        self.lines |= lines

    def _networks(self, dtype: torch.dtype, maps: torch.dtype | None) -> tuple[Any, Any, dict[int, list[float]]]:
        from i2s_batch.models import build_generator, build_vgg

        device, options = self._bench.device, self._bench.options
        generator = build_generator(drawn_network(options, self._case.family), device, dtype, maps)
        vgg = build_vgg(drawn_network(options, "vgg"), device, dtype, maps)
        blurs = [blur for module in generator.modules() if (blur := getattr(module, "blur", None)) is not None]
        lines = {blur.shape[-1]: blur[0, 0].diagonal().double().sqrt().tolist() for blur in blurs}
        if self._case.layout == "nhwc":
            for module in (*generator.modules(), *vgg.modules()):
                for name, value in module._buffers.items():
                    if value is not None and value.ndim == 4:
                        module._buffers[name] = self._laid_out(value)
        return generator, vgg, lines

    def _laid_out(self, value: torch.Tensor) -> torch.Tensor:
        nhwc = self._case.layout == "nhwc"
        return value.contiguous(memory_format=torch.channels_last if nhwc else torch.contiguous_format)

    def step_function(self) -> Callable[[], object]:
        """Return what makes one step of all images of the batch."""
        if self._case.step == "plain":
            return self._plain_step()
        from i2s_batch.config import EmbedConfig
        from i2s_batch.inversion import Embedder
        from i2s_batch.inversion.step_program import StepProgram

        case, smoke = self._case, self._bench.options.smoke
        config = EmbedConfig(steps=STEPS, batch_size=case.batch)
        backend = "aot_eager" if smoke else "inductor"
        program = StepProgram(compiled=case.step == "compiled", layout=case.layout, backend=backend)
        self._embedder = Embedder(self._generator, self._vgg, config, program=program)
        for number in range(case.batch):
            self._embedder.put(str(number), image(self._generator.resolution, number))
        self._slots = slots = self._embedder.slots
        slots.target = self._laid_out(slots.target)
        slots.target_features = [self._laid_out(features) for features in slots.target_features]

        def product_step() -> None:
            slots.advance(full=True)

        step = in_place_step(slots, case, smoke) if case.step == "aot" or case.graph else product_step
        return self._graphed(step) if case.graph else step

    def losses(self) -> list[float]:
        """Return the losses of the first image, one for each evaluation."""
        if self._case.step == "plain":
            return self._plain_losses
        losses: list[float] = self._slots.losses(0).double().cpu().tolist()
        return losses

    def warning(self) -> str:
        """Return what the engine has to report of the machine's compiler, or nothing."""
        return "" if self._case.step == "plain" else self._embedder.take_warning()

    def _plain_step(self) -> Callable[[], object]:
        """Return what one writes in a notebook: one image, torch.optim.Adam, the loss read in every step."""
        from i2s_batch.inversion.loss import loss_terms
        from i2s_batch.inversion.metrics import from_uint8

        generator = self._generator
        target = from_uint8(image(generator.resolution, 0), generator.w_avg)[None].contiguous()
        with torch.no_grad():
            target_features = self._vgg(target)
        w = generator.w_avg.expand(1, generator.num_layers, -1).clone().requires_grad_()
        optimizer = torch.optim.Adam([w], lr=0.01)

        def step() -> None:
            optimizer.zero_grad()
            synthesized = generator.synthesize(w)
            loss = loss_terms(synthesized, target, self._vgg(synthesized), target_features).sum()
            loss.backward()
            optimizer.step()
            self._plain_losses.append(loss.item())

        return step

    def _graphed(self, step: Callable[[], object]) -> Callable[[], object]:
        if not self._bench.cuda:
            raise NotImplementedError("a CPU has no CUDA graphs")
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            step()
        # The capture computes nothing: those before it were steps 0 to 2.
        return graph.replay
