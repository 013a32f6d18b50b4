"""Edits and studies as runs with one worker in this process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from i2s_batch.config import EditConfig, EmbedConfig
from i2s_batch.editing import Expression, Morph, Reenact, Render, Request, Style
from i2s_batch.editing.edit_run import EditRunRequest
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.output.layout import RunLayout
from i2s_batch.storage import open_store
from i2s_batch.studies.registered import STUDIES
from i2s_batch.studies.study_config import StudyConfig
from i2s_batch.studies.study_run import StudyRunRequest
from i2s_batch.table.shards import read_table
from tests.data.outputs.jobs import carry_out
from tests.hashes.materials import IMAGES, TABLE, network

PARENTS = tuple(f"in/{name}" for name in ("cats/0.png", "cats/1.png", "dogs/2.png", "dogs/3.png"))
FIRST, NEUTRAL, EXPRESSIVE, LAST = PARENTS

EDITS: dict[str, Request] = {
    "render": Render(),
    "morph chain": Morph((0.0, 0.3, 0.5, 1.0), "chain"),
    "morph to": Morph((0.25, -0.5), "to", to=LAST),
    "style": Style("all-pairs"),
    "style of layers": Style("to", to=FIRST, layers=(0, 2, 5)),
    "expression": Expression((0.5, 1.0, -1.5), NEUTRAL, EXPRESSIVE),
    "expression normalised": Expression((1.0,), NEUTRAL, EXPRESSIVE, threshold=0.02, normalise=True),
    "reenact": Reenact(FIRST, strength=0.8),
}
# The steps study needs ten steps at least.
STUDY_STEPS = 10


def edits(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Carry out every edit below `folder`, and yield latents and images, named by how they were made."""
    for name, request in EDITS.items():
        out = folder / name
        config = EditConfig(precision="fp64")
        carry_out(EditRunRequest((str(TABLE),), str(out), str(network("stylegan1")), request, config, ids=PARENTS))
        for row in _rows(out):
            settings = [row[key] for key in ("frame", "strength", "layers", "threshold", "normalise")]
            made = " ".join(str(value) for value in [*row["parents"], *settings] if value is not None)
            yield from _named(f"edits/{name}/{made}", row, Path(row["uri"]))


def studies(folder: Path, vgg: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Carry out every study below `folder`, and yield latents, images and figures."""
    source = folder / "in"
    source.mkdir()
    for path in IMAGES[:2]:
        shutil.copy(path, source / path.name)
    embed = EmbedConfig(steps=STUDY_STEPS, learning_rate=0.03)
    for name in STUDIES.names:
        out = folder / name
        config = StudyConfig(embed=embed, study=name, sample=2, batch_size=2, precision="fp64")
        carry_out(StudyRunRequest(str(source), str(out), str(network("stylegan1")), str(vgg), config))
        for row in _rows(out):
            picture = Path(open_store(str(out)).uri(RunLayout.picture(row["image_id"], "png")))
            yield from _named(f"studies/{name}/{row['variant']}/{row['picture']}", row, picture)


def _rows(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_table(str(out)).to_pylist()
    return rows


def _named(name: str, row: dict[str, Any], picture: Path) -> Iterator[tuple[str, np.ndarray]]:
    assert row["status"] == "ok", f"{name}: {row['error']}"
    yield f"{name}/latent", np.array(row["latent"], np.float32)
    yield f"{name}/image", decode_image(picture.read_bytes())
    figures = [row[key] for key in ("loss", "w_distance", "psnr", "ssim") if row[key] is not None]
    yield f"{name}/figures", np.array(figures, np.float64)
