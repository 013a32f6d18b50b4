"""Valid checkpoints of every format, and seeded mutations of them: of their bytes, and of what the bytes mean."""

from __future__ import annotations

import io
import pickletools
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as safetensors_of

from i2s_batch.models import GeneratorWeights, random_generator, write_safetensors
from i2s_batch.models.checkpoints.formats import FORMATS
from i2s_batch.models.network_settings import StyleGAN2Settings

from .files import DATA, TensorflowNetwork, ada_pickle, reference, rosinality_state, tensorflow_pickle
from .files import tensorflow_stylegan2 as _as_tensorflow
from .wrapped import (
    as_ada,
    basicsr,
    encoder_file,
    growing,
    module_of,
    rosinality,
    rosinality_stylegan1,
    saved,
    state_of,
    tuned_ada,
)

# Bytes that pickles are made of: every instruction of protocols 2 to 5, allowed or not.
_CODES = np.array([op.code.encode("latin-1")[0] for op in pickletools.opcodes], np.uint8)
_EXTREMES = (0, 1, *((1 << bits) - 1 for bits in (7, 8, 15, 16, 31, 32, 63)), 1 << 7, 1 << 31, 1 << 40, 1 << 63)
_WHOLE = (1 << 64) - 1


@dataclass(frozen=True)
class Victim:
    """A valid file. `places`: where its structure is: instructions, fields of directories, the header."""

    name: str
    data: bytes
    places: np.ndarray


def tensorflow_network_weights(architecture: str) -> GeneratorWeights:
    """A small StyleGAN2 generator as the programs of TensorFlow have it."""
    weights = random_generator("stylegan2", 16 if architecture == "orig" else 8, width=4, architecture=architecture)
    settings = replace(StyleGAN2Settings.of(weights.settings), demodulation="scaled", style_offset=1)
    return GeneratorWeights(settings, weights.tensors, "")


def tensorflow_network(**changes: Any) -> TensorflowNetwork:
    """A small StyleGAN2 generator of the TensorFlow program; `changes` to its state."""
    gs = _as_tensorflow(tensorflow_network_weights("skip"))
    gs.state |= changes
    return gs


def victims(folder: Any) -> list[Victim]:
    """One small valid file of every format; `folder` is for files in the making."""
    made: dict[str, bytes] = {"StyleGAN1 pickle": (DATA / "sg1_r128.pkl").read_bytes()}
    with pytest.MonkeyPatch.context() as patch:
        made["StyleGAN2 pickle"] = tensorflow_pickle(tensorflow_network(), patch)
        made["StyleGAN2-ADA pickle"] = ada_pickle(random_generator("stylegan2", 8, width=4), patch)
        made["StyleGAN2-ADA pickle of TensorFlow"] = tensorflow_pickle(as_ada(tensorflow_network()), patch)
        made["growing StyleGAN2 pickle"] = tensorflow_pickle(growing(tensorflow_network_weights("orig"), 1), patch)
        tuned = tuned_ada(patch)
        for layout, is_zip in (("zip", True), ("legacy", False)):
            made[f"StyleGAN2-ADA module {layout}"] = saved(tuned, is_zip)
        made["StyleGAN3 module"] = saved(tuned_ada(patch, "stylegan3"))
        made["StyleGAN2-ADA state dict"] = saved(state_of(tuned))
        made["rosinality module"] = saved(
            module_of(rosinality(), "models.stylegan2.model.Generator", "models.stylegan2.model.StyledConv", patch)
        )
        made["StyleGAN3 pickle"] = ada_pickle(random_generator("stylegan3", 16, width=4, channel_base=16), patch)
    vgg = {name: torch.from_numpy(value) for name, value in reference("vgg16_small_random").items() if "feat" in name}
    for name, value in (("rosinality", rosinality_state()), ("VGG-16", vgg)):
        for layout, is_zip in (("zip", True), ("legacy", False)):
            sink = io.BytesIO()
            torch.save(value, sink, _use_new_zipfile_serialization=is_zip)
            made[f"{name} {layout}"] = sink.getvalue()
    made["encoder"] = saved(encoder_file(torch.zeros(10, 64)))
    made["BasicSR"] = saved({"params_ema": basicsr(plain=True)})
    made["rosinality StyleGAN1"] = saved(rosinality_stylegan1(4))
    made["safetensors of StyleGAN2-ADA"] = safetensors_of({n: v.clone() for n, v in state_of(tuned).items()})
    for family in ("stylegan1", "stylegan3"):
        write_safetensors(random_generator(family, 16, width=4, channel_base=16), folder / "made", dtype="float16")
        made[f"{family} safetensors"] = (folder / "made").read_bytes()
    (folder / "made").unlink()
    return [Victim(name, data, np.array(sorted(_structure(data)))) for name, data in made.items()]


def _structure(data: bytes) -> set[int]:
    if data.startswith(b"PK"):
        return _of_zip(data)
    if data.startswith(b"\x80"):
        return set(_of_pickles(data, 0))
    return set(range(8 + int.from_bytes(data[:8], "little")))


def _of_pickles(data: bytes, start: int) -> Iterator[int]:
    """Instructions of the pickles that follow one another from `start` on, and of those in their byte strings."""
    stream = io.BytesIO(data)
    stream.seek(start)
    with suppress(ValueError):  # the values of a legacy file follow its pickles, and may begin like one
        while data[stream.tell() : stream.tell() + 1] == b"\x80":
            for _, value, place in pickletools.genops(stream):
                assert place is not None
                yield place
                if isinstance(value, bytes) and value.startswith(b"\x80"):
                    yield from _of_pickles(data, data.index(value, place))


def _of_zip(data: bytes) -> set[int]:
    places: set[int] = set()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.infolist():
            places |= set(range(entry.header_offset, entry.header_offset + 30))
            if entry.filename.endswith("data.pkl"):
                names = sum(int.from_bytes(data[entry.header_offset + at :][:2], "little") for at in (26, 28))
                places |= set(_of_pickles(data, entry.header_offset + 30 + names))
    for match in re.finditer(rb"PK\x01\x02|PK\x05\x06|PK\x06[\x06\x07]", data):
        places |= set(range(match.start(), min(match.start() + 46, len(data))))
    return places


Stream = np.random.Generator
Mutation = Callable[[bytearray, Victim, Stream, list[Victim]], None]


def _place(victim: Victim, data: bytearray, stream: Stream) -> int:
    """Somewhere in the structure mostly, else anywhere."""
    place = int(stream.choice(victim.places)) if stream.random() < 0.8 else int(stream.integers(len(data)))
    return min(place, len(data) - 1)


def _flip_bits(data: bytearray, victim: Victim, stream: Stream, others: list[Victim]) -> None:
    data[_place(victim, data, stream)] ^= 1 << int(stream.integers(8))


def _set_byte(data: bytearray, victim: Victim, stream: Stream, others: list[Victim]) -> None:
    data[_place(victim, data, stream)] = int(stream.integers(256))


def _swap_instruction(data: bytearray, victim: Victim, stream: Stream, others: list[Victim]) -> None:
    data[_place(victim, data, stream)] = int(stream.choice(_CODES))


def _insert(data: bytearray, victim: Victim, stream: Stream, others: list[Victim]) -> None:
    place = _place(victim, data, stream)
    data[place:place] = stream.bytes(int(stream.integers(1, 16)))


def _delete(data: bytearray, victim: Victim, stream: Stream, others: list[Victim]) -> None:
    place = _place(victim, data, stream)
    del data[place : min(place + int(stream.integers(1, 16)), len(data) - 1)]


def _truncate(data: bytearray, victim: Victim, stream: Stream, others: list[Victim]) -> None:
    del data[max(1, _place(victim, data, stream)) :]


def _repeat(data: bytearray, victim: Victim, stream: Stream, others: list[Victim]) -> None:
    """A run of instructions again, up to a thousand times."""
    place, length = _place(victim, data, stream), int(stream.integers(1, 64))
    data[place:place] = data[place : place + length] * int(stream.choice([1, 2, 10, 1000]))


def _splice(data: bytearray, victim: Victim, stream: Stream, others: list[Victim]) -> None:
    """A piece of another file, in place of bytes or between them."""
    other = others[int(stream.integers(len(others)))]
    start, length = int(stream.choice(other.places)), int(stream.integers(1, 400))
    place = _place(victim, data, stream)
    data[place : place + (length if stream.random() < 0.5 else 0)] = other.data[start : start + length]


def _set_number(data: bytearray, victim: Victim, stream: Stream, others: list[Victim]) -> None:
    """A field of 1 to 8 bytes, such as a length that follows an instruction, becomes an extreme or a near number."""
    place, width = _place(victim, data, stream) + int(stream.integers(2)), int(stream.choice([1, 2, 4, 8]))
    was = int.from_bytes(data[place : place + width], "little")
    near = was + int(stream.choice([-1, 1, -4, 4, 512]))
    number = near if stream.random() < 0.3 else _EXTREMES[int(stream.integers(len(_EXTREMES)))]
    order = "little" if stream.random() < 0.8 else "big"
    data[place : place + width] = (number & _WHOLE).to_bytes(8, order)[:width]


def _set_digit(data: bytearray, victim: Victim, stream: Stream, others: list[Victim]) -> None:
    """Numbers written as text: shapes and offsets of safetensors, resolutions in names."""
    places = [match.span() for match in re.finditer(rb"\d+|[\[\]{}:,\"]", bytes(data[:200_000]))]
    start, end = places[int(stream.integers(len(places)))] if places else (0, 0)
    texts = (b"0", b"-1", b"1e9", b"9" * 30, b"4096", b"true", b"null", b"[", b"{", b'"', b"]" * 3, b"1.5", b"[" * 500)
    data[start:end] = texts[int(stream.integers(len(texts)))]


MUTATIONS: tuple[Mutation, ...] = (
    _flip_bits, _set_byte, _swap_instruction, _insert, _delete, _truncate, _repeat, _splice, _set_number, _set_digit,
)  # fmt: skip


def mutated(number: int, all_victims: list[Victim]) -> tuple[Victim, bytes]:
    """Input `number`: always the same. One to four mutations of one of the victims, each in its turn."""
    stream = np.random.default_rng([7, number])
    victim = all_victims[number % len(all_victims)]
    data = bytearray(victim.data)
    for _ in range(int(stream.integers(1, 5))):
        MUTATIONS[int(stream.integers(len(MUTATIONS)))](data, victim, stream, all_victims)
    return victim, bytes(data)


_watched: list[str] | None = None
_FORBIDDEN = re.compile(
    r"exec|compile|import|(os|posix)\.(system|exec|spawn|posix_spawn|fork|remove|rename|mkdir|putenv)|subprocess\..*"
    r"|pickle\.find_class|marshal\..*|socket\..*|ctypes\..*|shutil\..*|urllib\..*|code\.__new__|function\.__new__"
)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _watched is None:
        return
    written = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if written or _FORBIDDEN.fullmatch(event):
        _watched.append(f"{event} {args!r:.200}")


@contextmanager
def nothing_runs() -> Iterator[None]:
    """Fails if the interpreter meanwhile executes, imports or compiles anything, starts a process, opens a socket or
    writes a file: it reports such things itself. The hook stays, and is deaf outside."""
    global _watched  # noqa: PLW0603 (a hook of the interpreter cannot be taken away)
    for declared in FORMATS:  # modules of ours, imported on first use
        declared.resolve()
    if _hook not in _installed:
        sys.addaudithook(_hook)
        _installed.append(_hook)
    _watched = []
    try:
        yield
        assert _watched == []
    finally:
        _watched = None


_installed: list[Any] = []
