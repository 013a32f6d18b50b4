"""Takes the latents of ordinary runs into the edit bench: whatever `i2s-batch embed` can do can be judged.

i2s-batch bench edits --write-images FOLDER
i2s-batch embed FOLDER OUT --generator i2s_batch/demo/generator.safetensors --vgg random ...
i2s-batch bench edits --latents NAME=OUT
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from i2s_batch.bench.solved_images import SolvedImages
from i2s_batch.demo.held_out import HeldOutImage
from i2s_batch.errors import ConfigError
from i2s_batch.images.read.decoding import encode_image
from i2s_batch.output.ownership import check_same
from i2s_batch.storage import open_store
from i2s_batch.table.arrays import read_latents

_ENDING = ".png"
_FINGERPRINT = "generator_fingerprint"


def write_held_out(folder: Path, images: Sequence[HeldOutImage]) -> None:
    """Write the images as files, NAME.png.

    Raises:
        RunConflictError: Other files have these names; nothing is written.
    """
    contents = {f"{image.name}{_ENDING}": encode_image(image.pixels, "png") for image in images}
    store = open_store(str(folder))
    check_same(store, contents)
    store.put_all(contents)


def named_run(text: str) -> tuple[str, str]:
    """Return the name and the output of `NAME=OUT`.

    Raises:
        ConfigError: One of them is missing.
    """
    name, _, out = text.partition("=")
    if not name or not out:
        raise ConfigError(f"latents {text!r} are not NAME=OUT; give a name for the row and the output of a run")
    return name, out


def solved_by_run(out: str, generator_fingerprint: str) -> SolvedImages:
    """Return what a run found for the images that `write_held_out` wrote.

    Raises:
        ConfigError: The run used another generator.
    """
    found = read_latents(out, ["steps", _FINGERPRINT])
    others = set(found.table[_FINGERPRINT].to_pylist()) - {generator_fingerprint}
    if others:
        raise ConfigError(f"the latents of {out!r} are of another generator; embed with the demo's")
    names = tuple(image_id.removesuffix(_ENDING) for image_id in found.ids)
    unknown = np.full(len(names), np.nan)
    return SolvedImages(names, found.latents, unknown, found.metrics["steps"].astype(int) + 1)
