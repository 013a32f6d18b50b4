"""What must be true of every finished run, wherever it ran."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from i2s_batch import load_generator, read_latents
from i2s_batch.images.read.decoding import decode_image
from i2s_batch.images.resize import fit_image
from i2s_batch.inversion.metrics import mse, psnr, to_uint8
from i2s_batch.schema.columns import COLUMNS
from i2s_batch.sources.image_bytes import read_bytes
from i2s_batch.storage import open_store
from i2s_batch.table.shards import read_table
from tests.material import BAD


def check_table(out: str, image_ids: set[str], generator: Path, bad: set[str] = BAD) -> None:
    """Each image has exactly one row; a re-rendered latent reproduces the row's metrics; nothing else is left."""
    table = read_table(out)
    ids = table.column("image_id").to_pylist()
    assert ids == sorted(image_ids), "each image once, in order"
    assert table.column_names[: len(COLUMNS)] == [column.name for column in COLUMNS]
    rows = {row["image_id"]: row for row in table.to_pylist()}
    network = load_generator(generator)
    for image_id, row in rows.items():
        if image_id in bad:
            assert row["status"] == "unreadable" and row["latent"] is None and row["error"]
            continue
        assert (row["status"], row["error"], row["stop_reason"]) == ("ok", None, "steps"), row["error"]
        check_row(row, network)
    latents = read_latents(out)
    assert latents.ids == sorted(image_ids - bad)
    assert latents.latents.shape == (len(latents.ids), network.num_layers, network.w_dim)
    assert [info.key for info in open_store(out).list("work/")] == [], "the work folder is empty"


def check_row(row: dict, network: torch.nn.Module) -> None:
    latent = torch.tensor(row["latent"]).reshape(1, network.num_layers, network.w_dim)
    with torch.no_grad():
        picture = to_uint8(network.synthesize(latent)[0])
    original = decode_image(read_bytes(row["uri"]))
    assert original.shape == (row["height"], row["width"], 3)
    error = mse(picture, fit_image(original, network.resolution, "crop"))
    # Another batch or thread count may round a few of the levels to their neighbours.
    assert math.isclose(error, row["mse"], rel_tol=1e-3), row["image_id"]
    assert math.isclose(psnr(row["mse"]), row["psnr"])
    assert math.isclose(row["w_distance"], (latent[0] - network.w_avg).norm().item(), rel_tol=1e-5)
    terms = [row[f"loss_{term}"] for term in ("pixel", "conv1_1", "conv1_2", "conv3_2", "conv4_2")]
    assert math.isclose(sum(terms), row["loss"], rel_tol=1e-5)
    assert row["loss_curve_steps"][0] == 0 and row["loss_curve_steps"][-1] == row["steps"]
    assert math.isclose(row["loss_curve"][-1], row["loss"], rel_tol=1e-6) and len(row["sha256"]) == 64
    assert row["loss_curve"][-1] < row["loss_curve"][0]
    assert len(np.unique(row["loss_curve_steps"])) == len(row["loss_curve"])
