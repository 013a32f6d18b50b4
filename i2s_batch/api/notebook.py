"""Draws a progress bar in a notebook: an HTML element, which IPython redraws in place.

Not a widget of ipywidgets, as tqdm draws: that needs an extension of the notebook beside the library, and of a saved
notebook, or one that is shown as a page, nothing of it is left. IPython itself is there wherever there is a notebook.
"""

from __future__ import annotations

import html
import importlib
import sys
from typing import Any

from i2s_batch.run.terminal import LiveReporter


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook. Imports nothing."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class NotebookBar(LiveReporter):
    """Draws a bar and the text of a run's live line below the running cell; lines that stay are printed."""

    def __init__(self) -> None:
        self._display: Any = importlib.import_module("IPython.display")
        self._handle: Any = None

    def __call__(self, line: str) -> None:
        """Print a line that stays."""
        print(line)  # into the output of the cell

    def show(self, text: str, fraction: float | None = None) -> None:
        """Redraw the bar; without a fraction it moves to and fro."""
        value = "" if fraction is None else f' value="{fraction:.4f}"'
        bar = f'<progress max="1"{value} style="width: 20em; vertical-align: middle"></progress>'
        drawn = self._display.HTML(f"<div>{bar} <code>{html.escape(text)}</code></div>")
        if self._handle is None:
            self._handle = self._display.display(drawn, display_id=True)
        else:
            self._handle.update(drawn)

    def end(self) -> None:
        """Leave the bar as it stands; the next run draws one of its own."""
        self._handle = None
