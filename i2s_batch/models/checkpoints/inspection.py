"""A look at any checkpoint: what it is, how large, and what else lies in the file. No network is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2s_batch.models.checkpoints.official_pickle import load_official, read_official
from i2s_batch.models.checkpoints.reader import torch_object
from i2s_batch.models.checkpoints.restricted import Record
from i2s_batch.models.checkpoints.rosinality import AVERAGE, read_rosinality, state_dict_of
from i2s_batch.models.checkpoints.safetensors_file import read_arrays, read_safetensors
from i2s_batch.models.checkpoints.source import PICKLE, SAFETENSORS, container_of, opened
from i2s_batch.models.checkpoints.torch_tensors import is_tensor
from i2s_batch.models.checkpoints.vgg_file import vgg_from_arrays, vgg_from_state_dict
from i2s_batch.models.layout import Widths, check_weights
from i2s_batch.models.weights import GeneratorWeights, VGGWeights

_WANTED = "a StyleGAN checkpoint or a VGG-16 state dict"
# Variables that training does not change, or only averages.
_FIXED = re.compile(r"w_avg|layer\.\d+\.(noise|magnitude|up_filter|down_filter)|input\.(freqs|phases|transform)")
_SHOWN = 24  # entries of a file, more are counted
_LONGEST = 60  # characters of a name


@dataclass(frozen=True)
class Contents:
    """What a file holds: its `format`, the weights in it, and `beside` them each other entry with its kind."""

    format: str
    weights: GeneratorWeights | VGGWeights
    beside: tuple[str, ...]


def inspect_checkpoint(path: str | Path) -> Contents:
    """The contents of any file that can be read; raises CheckpointError as `read_generator` does."""
    with opened(path) as data:
        container = container_of(data, _WANTED)
        if container == SAFETENSORS:
            return _safetensors(data)
        weights: GeneratorWeights | VGGWeights
        if container == PICKLE:
            value = load_official(data)
            weights = read_official(value)
            pairs = zip(("G", "D"), value, strict=False) if isinstance(value, tuple) else value.items()
            others = [(name, entry) for name, entry in pairs if name != "G_ema"]
        else:
            value = torch_object(data, container)
            weights, others = _of_torch(value)
        return Contents(weights.origin, weights, tuple(_listed(others)))


def _of_torch(value: Any) -> tuple[GeneratorWeights | VGGWeights, list[tuple[Any, Any]]]:
    if isinstance(value, dict) and "features.0.weight" in value:
        weights = vgg_from_state_dict(value)
        return weights, [(name, entry) for name, entry in value.items() if name not in weights.tensors]
    state, which = state_dict_of(value)
    known = set(state) if state is value else {which, AVERAGE}
    return read_rosinality(value), [(name, entry) for name, entry in value.items() if name not in known]


def _safetensors(data: memoryview) -> Contents:
    arrays, metadata = read_arrays(data)
    if "family" not in metadata:
        weights = vgg_from_arrays(arrays, "VGG-16 safetensors")
        return Contents(weights.origin, weights, tuple(_text(name) for name in arrays if name not in weights.tensors))
    own = read_safetensors(data)
    return Contents(f"i2s-batch safetensors, made from: {own.origin}", own, ())


def _listed(entries: list[tuple[Any, Any]]) -> Iterator[str]:
    entries = [(name, value) for name, value in entries if value is not None]
    yield from (f"{_text(name)} ({_kind(value)})" for name, value in entries[:_SHOWN])
    if len(entries) > _SHOWN:
        yield f"and {len(entries) - _SHOWN} more"


def _kind(value: Any) -> str:
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
    """A name or a value of a file may hold anything: no control characters, no second line."""
    return "".join(c if c.isprintable() else "?" for c in str(value)[:longest])


def facts(contents: Contents) -> list[tuple[str, str]]:
    """`contents` as pairs of a name and a line for people."""
    weights = contents.weights
    lines = [("format", _text(contents.format, 200))]
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
    settings = {key: value for key, value in weights.settings.items() if key not in ("resolution", "c_dim", "layers")}
    return [
        ("family", weights.family),
        ("resolution", f"{weights.settings['resolution']} x {weights.settings['resolution']}"),
        ("layers", f"{layers}, so a W+ code is [{layers}, {w_dim}]"),
        ("widths", f"z {widths.z}, w {widths.w}, mapping {_row(widths.mapping)}, channels {_row(widths.channels)}"),
        ("classes", str(weights.settings["c_dim"] or "none")),
        ("settings", ", ".join(f"{key} {value}" for key, value in sorted(settings.items()))),
    ]


def _row(numbers: list[int] | tuple[int, ...]) -> str:
    return " ".join(map(str, numbers))
