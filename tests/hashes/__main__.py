"""The program: `python -m tests.hashes`, see the package's docstring."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from tests.hashes import comparison, embeddings, materials, runs
from tests.material import write_small_vgg

MOST_LINES = 50  # that are printed
GROUPS = ("embeddings", "edits", "studies")


def compute(groups: tuple[str, ...], folder: Path) -> dict[str, np.ndarray]:
    """Compute the results of some groups; what runs write goes below `folder`."""
    vgg = folder / "vgg.pth"
    write_small_vgg(vgg)
    made: dict[str, np.ndarray] = {}
    for group in groups:
        (folder / group).mkdir()
        if group == "embeddings":
            found = embeddings.results(vgg)
        else:
            found = runs.edits(folder / group) if group == "edits" else runs.studies(folder / group, vgg)
        for name, values in found:
            if name in made:
                raise ValueError(f"{name} names two results")
            made[name] = values
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the results with the reference, or make them the reference."""
    parser = argparse.ArgumentParser(prog="python -m tests.hashes", description="Compare results with the reference.")
    parser.add_argument("--write", action="store_true", help="Make the results of this program the reference.")
    parser.add_argument("--only", choices=GROUPS, default=None, help="Compare one group of results (default: all).")
    options = parser.parse_args(arguments)
    if options.write and options.only:
        parser.error("--write writes all groups; leave --only out")
    torch.set_num_threads(1)
    if options.write:
        materials.write_networks()
    groups = (options.only,) if options.only else GROUPS
    with tempfile.TemporaryDirectory(prefix="hashes-") as folder:
        results = compute(groups, Path(folder))
    if options.write:
        comparison.write(results)
    reference = comparison.read()
    lines = comparison.differences(results, reference, groups)
    for line in lines[:MOST_LINES]:
        print(line)
    if len(lines) > MOST_LINES:
        print(f"... and {len(lines) - MOST_LINES} more")
    same = comparison.identical(results, reference)
    print(f"{len(results)} results: {same} are the same to the last bit, {len(lines)} differ beyond it")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
