"""The step of a full batch as one compiled program, with the plain function where there can be none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class CompiledStep:
    """`step`, compiled at its first call for each batch size (the first dimension of its first argument).

    A compiler that is missing or fails costs speed, not pictures: the plain `step` goes on, and `take_warning` says so
    once. Running out of memory is left to the caller.
    """

    def __init__(self, step: Callable[..., Any], backend: str = "inductor") -> None:
        self._step, self._backend = step, backend
        self._programs: dict[int, Callable[..., Any]] = {}
        self._failed = False
        self._warning = ""

    def __call__(self, *arguments: Any) -> Any:
        size = arguments[0].shape[0]
        if self._failed:
            return self._step(*arguments)
        if size in self._programs:
            return self._programs[size](*arguments)
        try:
            program = torch.compile(self._fresh(), fullgraph=True, dynamic=False, backend=self._backend)
            result = program(*arguments)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, OSError, ImportError) as error:  # what the compilers raise; the plain step tells a bug
            self._failed = True
            reason = " ".join(str(error).split())[:200]
            self._warning = f"the step could not be compiled and runs uncompiled, slower ({reason})"
            return self._step(*arguments)
        self._programs[size] = program
        return result

    def take_warning(self) -> str:
        """What the user should know, once; else empty."""
        warning, self._warning = self._warning, ""
        return warning

    def _fresh(self) -> Callable[..., Any]:
        """A function of its own for each size: torch compiles one function 8 times and then no more."""
        step = self._step

        def one_step(*arguments: Any) -> Any:
            return step(*arguments)

        return one_step
