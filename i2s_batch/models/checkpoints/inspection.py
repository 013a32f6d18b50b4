"""This module inspects any checkpoint: what it is, how large, and what else lies in the file. No network is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from i2s_batch.models.checkpoints.checkpoint_file import CheckpointFile
from i2s_batch.models.checkpoints.opening import opened
from i2s_batch.models.checkpoints.reader import recognised
from i2s_batch.models.checkpoints.refusals import neither
from i2s_batch.models.checkpoints.restricted import Record
from i2s_batch.models.checkpoints.stored_arrays import StoredArray
from i2s_batch.models.checkpoints.torch_tensors import is_tensor
from i2s_batch.models.network_layout import Widths, check_weights
from i2s_batch.models.weights import GeneratorWeights, VGGWeights

# Variables that training does not change, or only averages.
_FIXED = re.compile(r"w_avg|layer\.\d+\.(noise|magnitude|up_filter|down_filter)|input\.(freqs|phases|transform)")
_SHOWN = 24  # entries of a file, more are counted
_LONGEST = 60  # characters of a name


@dataclass(frozen=True)
class Contents:
    """Describes a file: its `format` and `wrapper`, the weights in it, and `beside` them each other entry."""

    format: str
    wrapper: str
    weights: GeneratorWeights | VGGWeights
    beside: tuple[str, ...]


def inspect_checkpoint(path: str | Path) -> Contents:
    """Return the contents of any file that can be read; raises CheckpointError as `read_generator` does."""
    with opened(path) as data:
        file = CheckpointFile(data)
        found = recognised(file)
        if found is None:
            raise neither(file)
        declaration, read = found
        weights = read.read(file)
        label = declaration.label.format(origin=weights.origin)
        return Contents(label, read.wrapper(file), weights, tuple(_listed(list(read.others(file, weights)))))


def _listed(entries: list[tuple[object, object]]) -> Iterator[str]:
    entries = [(name, value) for name, value in entries if value is not None]
    for name, value in entries[:_SHOWN]:
        yield _text(name) if isinstance(value, StoredArray) else f"{_text(name)} ({_kind(value)})"
    if len(entries) > _SHOWN:
        yield f"and {len(entries) - _SHOWN} more"


def _kind(value: object) -> str:
    if is_tensor(value):
        return "tensor"
    if isinstance(value, Record):
        meta = value.args[0] if value.args else None
        for facts, key in ((value.state, "name"), (meta, "class_name")):
            if isinstance(facts, dict) and isinstance(facts.get(key), str):
                return _text(facts[key])
        return _text(value.name.rpartition(".")[2])
    if isinstance(value, dict | list | tuple):
        return f"{len(value)} entries"
    return _text(value) if isinstance(value, bool | int | float | str) else type(value).__name__


def _text(value: object, longest: int = _LONGEST) -> str:
    """Return a name or a value of a file, which may hold anything, without control characters and second lines."""
    return "".join(c if c.isprintable() else "?" for c in str(value)[:longest])


def facts(contents: Contents) -> list[tuple[str, str]]:
    """Return `contents` as pairs of a name and a line for people."""
    weights = contents.weights
    lines = [("format", _text(contents.format, 200)), ("wrapper", _text(contents.wrapper, 200))]
    if isinstance(weights, GeneratorWeights):
        lines += _of_generator(weights)
    else:
        widths = [value.shape[0] for name, value in weights.tensors.items() if name.endswith("weight")]
        lines += [("family", "vgg16"), ("layers", f"{len(widths)} convolutions"), ("widths", _row(widths))]
    trained = sum(value.size for name, value in weights.tensors.items() if not _FIXED.fullmatch(name))
    fixed = sum(value.size for value in weights.tensors.values()) - trained
    lines.append(("parameters", f"{trained:,}" + (f", and {fixed:,} constants" if fixed else "")))
    lines.append(("fingerprint", weights.fingerprint))
    return [*lines, ("also holds", ", ".join(contents.beside) or "nothing")]


def _of_generator(weights: GeneratorWeights) -> list[tuple[str, str]]:
    widths: Widths = check_weights(weights)
    layers, w_dim = weights.latent_shape
    settings = {
        key: value for key, value in weights.settings.to_json().items() if key not in ("resolution", "c_dim", "layers")
    }
    return [
        ("family", weights.family),
        ("resolution", f"{weights.settings.resolution} x {weights.settings.resolution}"),
        ("layers", f"{layers}, so a W+ latent is [{layers}, {w_dim}]"),
        ("widths", f"z {widths.z}, w {widths.w}, mapping {_row(widths.mapping)}, channels {_row(widths.channels)}"),
        ("classes", str(weights.settings.c_dim or "none")),
        ("settings", ", ".join(f"{key} {value}" for key, value in sorted(settings.items()))),
    ]


def _row(numbers: list[int] | tuple[int, ...]) -> str:
    return " ".join(map(str, numbers))
