"""Runs a step as one CUDA graph: some hundred kernels with one launch, so that the host's speed does not count."""

from __future__ import annotations

from collections.abc import Callable

import torch

WARM_UP_STEPS = 3  # on their own stream before the capture, as PyTorch requires; cuDNN chooses its algorithms in them


class GraphedStep:
    """Runs a step as it is three times, then replays it as a CUDA graph.

    `step` changes tensors in place and never waits for the device.

    Every call is one step. The tensors that `step` reads and writes must stay where they are; `step` must not be
    changed from outside.

    Raises:
        RuntimeError: The capture failed; the step of that call was not made.
    """

    def __init__(self, step: Callable[[], None]) -> None:
        self._step = step
        new_stream: Callable[[], torch.cuda.Stream] = torch.cuda.Stream  # PyTorch does not type its constructor
        self._stream = new_stream()
        self._warm_ups = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        """Make one step."""
        if self._graph is not None:
            self._graph.replay()
            return
        if self._warm_ups == WARM_UP_STEPS:
            self._graph = self._captured()
            self._graph.replay()
            return
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._step()
        torch.cuda.current_stream().wait_stream(self._stream)
        self._warm_ups += 1

    def _captured(self) -> torch.cuda.CUDAGraph:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # the graph allocates from a pool of its own
        graph = torch.cuda.CUDAGraph()
        # Other threads load images meanwhile, with calls that a capture forbids: thread_local checks only this thread.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._step()
        return graph
