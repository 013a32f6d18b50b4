"""Exports latents as the files that other programs read: .npy, .npz and .pt."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import torch

from i2s_batch.errors import ConfigError
from i2s_batch.output.ownership import check_file
from i2s_batch.storage.files import written_whole
from i2s_batch.storage.urls import is_url
from i2s_batch.table.arrays import is_number, read_latents, stacked
from i2s_batch.table.dataset import TableFiles
from i2s_batch.table.exporters import EXPORTERS
from i2s_batch.table.selection import ChosenRows, open_chosen

_LATENTS = "w"  # the name of the latents in .npz and .pt


def export_latents(out: str, file: str, where: str | None = None) -> int:
    """Write the latents of the run at `out` into `file`, in the order of their ids; return their number.

    The end of the name selects the format: .npy, the latents alone [N, L, w_dim] float32; .npz, the latents as `w`,
    `image_id`, and each column of numbers [N] (an extra column `w` as `list_w`); .pt, the same as a dict of tensors and
    a list, which torch.load reads with weights_only. `where` as in `read_latents`, and its errors.

    Raises:
        ConfigError: The name has another end.
        StorageError: Nothing can be written there.
    """
    ending = Path(file).suffix.lower().removeprefix(".")
    if ending not in EXPORTERS or is_url(file):
        *others, last = (f".{name}" for name in EXPORTERS.names)
        raise ConfigError(f"FILE is {file!r}; give a path on this machine that ends in {', '.join(others)} or {last}")
    exporter = EXPORTERS.get(ending)
    check_file(file)
    with written_whole(Path(file), seekable=exporter.seekable) as stream:
        return exporter.resolve()(out, where, stream)


def write_npy(out: str, where: str | None, stream: BinaryIO) -> int:
    """Write the latents alone, float32 [N, L, w_dim]."""
    table, chosen = open_chosen(out, [], where)
    _write_latents(table, chosen, stream)
    return len(chosen)


def write_npz(out: str, where: str | None, file: BinaryIO) -> int:
    """Write the latents as `w`, image_id, and each column of numbers, [N]."""
    table, chosen = open_chosen(out, None, where)
    names = ["image_id", *(field.name for field in table.schema if is_number(field.type))]
    chosen = replace(chosen, columns=["latent", *names])
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open(f"{_LATENTS}.npy", "w", force_zip64=True) as stream:
            others = _write_latents(table, chosen, stream)
        for name in names:
            values = np.array(others[name].to_pylist(), np.str_) if name == "image_id" else others[name].to_numpy()
            with archive.open(f"{_free_name(name, names)}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, values, allow_pickle=False)
    return len(chosen)


def write_pt(out: str, where: str | None, stream: BinaryIO) -> int:
    """Write what `write_npz` writes as a dict of tensors and a list, for `torch.load`."""
    found = read_latents(out, None, where)
    content: dict[str, torch.Tensor | list[str]] = {_LATENTS: torch.from_numpy(found.latents), "image_id": found.ids}
    metrics = found.metrics
    content |= {_free_name(name, metrics): torch.from_numpy(values.copy()) for name, values in metrics.items()}
    torch.save(content, stream)
    return len(found.ids)


def _free_name(name: str, others: Iterable[str]) -> str:
    """Return the name of a column in the file: `list_w` for an extra column with the name of the latents."""
    if name != _LATENTS:
        return name
    free = f"list_{name}"
    while free in others:
        free = f"list_{free}"
    return free


def _write_latents(table: TableFiles, chosen: ChosenRows, stream: Any) -> pa.Table:
    """Write float32 [N, L, w_dim] in numpy's format, a row group at a time; return the other columns of the rows."""
    shape = (len(chosen), *table.latent_shape)
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(stream, header)
    others = [table.shards[0].columns([name for name in chosen.columns if name != "latent"]).empty_table()]
    for batch in chosen.batches(table):
        stream.write(stacked(pa.chunked_array([batch["latent"]])).tobytes())
        others.append(pa.Table.from_batches([batch]).drop_columns("latent").replace_schema_metadata(None))
    return pa.concat_tables(others)
