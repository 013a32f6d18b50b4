"""Count the files that one image really enters: `python -m tests.calls.entered [--files]`.

A PNG in a folder is embedded in this process with the options that a user would leave as they are, and every file of
the package is noted in which a function is called. `tests.structure` counts what any run may reach, every format and
place; this counts what one run does. What does not belong to an image's way is left out here as it is there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import FrameType

from tests.material import scene, write_small_generator, write_small_vgg
from tests.program import status_of
from tests.structure import NAME, OWN, ROOT

PACKAGE = ROOT / NAME


class Entered:
    """Collects the files of the package in which a function is called; the bodies of modules and classes do not count.

    Attributes:
        files: Relative to the package.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        """Leave out the files and folders `stops`, and what is called from there."""
        self.files: set[str] = set()
        self._stops = stops
        self._outside = threading.local()  # the call that led into a stop, of each thread

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Take what `sys.setprofile` reports."""
        if event == "return" and getattr(self._outside, "frame", None) is frame:
            self._outside.frame = None
        if event != "call" or getattr(self._outside, "frame", None) or not frame.f_code.co_flags & CO_OPTIMIZED:
            return
        path = Path(frame.f_code.co_filename)
        if not path.is_relative_to(PACKAGE):
            return
        file = path.relative_to(PACKAGE)
        if any(file.is_relative_to(stop) for stop in self._stops):
            self._outside.frame = frame
        else:
            self.files.add(file.as_posix())


@contextmanager
def entered(stops: tuple[str, ...]) -> Iterator[Entered]:
    """Collect what is entered meanwhile, in any thread."""
    found = Entered(stops)
    threading.setprofile(found)
    sys.setprofile(found)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def an_image(folder: Path) -> set[str]:
    """Embed an image below `folder`; return the files of the package that it enters on its way to its row."""
    (folder / "in").mkdir()
    scene(1, (40, 40)).save(folder / "in" / "one.png")
    write_small_generator(folder / "generator.safetensors")
    write_small_vgg(folder / "vgg.pth")
    words = ["embed", folder / "in", folder / "out", "--generator", folder / "generator.safetensors"]
    with entered(OWN) as found:
        assert status_of(*words, "--vgg", folder / "vgg.pth", "--steps", 3, "--in-process") == 0
    return found.files


def main() -> None:
    """Print how many files were entered, and which where it is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.calls.entered", description="Count the files of one image.")
    parser.add_argument("--files", action="store_true", help="List the files.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = sorted(an_image(Path(folder)))
    packages = Counter(file.partition("/")[0] for file in files if "/" in file)
    print(f"{len(files)} files: {', '.join(f'{name} {count}' for name, count in sorted(packages.items()))}")
    if arguments.files:
        print(*(f"  {file}" for file in files), sep="\n")


if __name__ == "__main__":
    main()
