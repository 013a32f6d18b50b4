"""Small files that ask for endless work or memory: each part of them is harmless, what it is multiplied by is not."""

from __future__ import annotations

import pickle
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from i2s_batch.errors import CheckpointError
from i2s_batch.models import random_generator, read_generator, read_vgg
from i2s_batch.models.checkpoints import restricted, variables
from i2s_batch.models.checkpoints.opening import TORCH_MAGIC_NUMBER
from i2s_batch.models.checkpoints.stored_arrays import StoredArray, contiguous
from i2s_batch.models.checkpoints.tensorflow_network import growth_of

from . import files
from .files import AdaModule, ada_pickle, tensorflow_pickle
from .fuzz import tensorflow_network
from .test_hostile import MEGABYTE, bounded_work


def refused(path: Path, data: bytes, read: Callable = read_generator) -> str:
    """Why a file is refused, at little cost."""
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with bounded_work(), pytest.raises(CheckpointError) as error:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 100 * MEGABYTE
    finally:
        tracemalloc.stop()
    return str(error.value)


@pytest.fixture
def few_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting lines is slow: the limit is the same at any height."""
    monkeypatch.setattr(restricted, "MAX_INSTRUCTIONS", 10_000)


def text(content: str) -> bytes:
    return b"X" + struct.pack("<I", len(content)) + content.encode()


def test_pickles_within_pickles_share_one_budget(tmp_path: Path, few_instructions: None) -> None:
    """A storage's bytes are a pickle of their own, which a file may name ten thousand times."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x01NtQ."
    nested = b"".join(pickle.dumps(part, 2) for part in (TORCH_MAGIC_NUMBER, 1001, {"little_endian": True}))
    nested += b"\x80\x02" + b"N" * 5_000 + storage + pickle.dumps(["0"], 2) + struct.pack("<Q", 1) + bytes(4)
    load = b"ctorch.storage\n_load_from_bytes\n\x94B" + struct.pack("<I", len(nested)) + nested + b"\x94"
    assert "instructions" in refused(tmp_path / "x", b"\x80\x04" + load + b"h\x00h\x01\x85R" * 2_000 + b".")


def test_copies_of_a_dict_are_paid_for(tmp_path: Path, few_instructions: None) -> None:
    pairs = b"".join(b"J" + struct.pack("<i", i) + b"N\x86" for i in range(1_000))
    data = b"\x80\x04ccollections\nOrderedDict\n\x94]\x94(" + pairs + b"e" + b"h\x00h\x01\x85R" * 1_000 + b"."
    assert "instructions" in refused(tmp_path / "x", data)


@pytest.mark.parametrize("key", [text("k" * 300), b"K\x01\x85"])
def test_keys_are_short_texts(tmp_path: Path, key: bytes) -> None:
    for data in (b"}" + key + b"Ns.", b"ccollections\nOrderedDict\n]" + key + b"N\x86a\x85R."):
        assert " as a key; refused" in (why := refused(tmp_path / "x", b"\x80\x04" + data)) or "300 characters" in why


def test_the_name_of_a_storage_is_short(tmp_path: Path) -> None:
    """It is joined to a path at each of its uses."""
    torch.save({"a": torch.zeros(1)}, tmp_path / "x")
    data = (tmp_path / "x").read_bytes()
    name = b"X\x01\x00\x00\x000"
    assert data.count(name) == 1
    torch.save({"a": torch.zeros(1)}, tmp_path / "y", _use_new_zipfile_serialization=False)
    legacy = (tmp_path / "y").read_bytes()
    place = legacy.index(b"X\x03\x00\x00\x00cpu")
    start = legacy.rindex(b"X", 0, place)
    assert "endless name" in refused(tmp_path / "z", legacy[:start] + text("9" * 5000) + legacy[place:], read_vgg)


def one_table_for_all(weights, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A generator of some hundred modules that share one table of some thousand variables."""
    made = files.stylegan3_generator
    table = {f"p{i}": torch.nn.Parameter(torch.zeros(1)) for i in range(200)}

    def grown(given):
        generator = made(given)
        child = AdaModule(_parameters=table)
        for i in range(100):
            generator.child("synthesis").state["_modules"][f"more{i}"] = child
        return generator

    monkeypatch.setattr(files, "stylegan3_generator", grown)
    return ada_pickle(weights, monkeypatch)


def small():
    return random_generator("stylegan3", 16, width=4, channel_base=16)


def test_one_table_of_many_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "more variables than a StyleGAN" in refused(tmp_path / "x", one_table_for_all(small(), monkeypatch))


@pytest.mark.parametrize("name", ["(", "(a+)+b", "[", "L(?P<x>"])
def test_the_name_of_a_layer_is_no_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Once '(' raised an error of its own, and '(a+)+b' was matched for years against a module 'aaaa...'."""
    made = files.stylegan3_generator

    def renamed(given):
        generator = made(given)
        state = generator.state["_modules"]["synthesis"].state
        state["layer_names"] = [name, *state["layer_names"][1:]]
        state["_modules"] = {name if key == "L0" else key: value for key, value in state["_modules"].items()}
        state["_modules"]["a" * 60] = AdaModule()
        return generator

    monkeypatch.setattr(files, "stylegan3_generator", renamed)
    path = tmp_path / "x"
    path.write_bytes(ada_pickle(small(), monkeypatch))
    assert read_generator(path).fingerprint == small().fingerprint


def test_an_attribute_is_no_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = files.stylegan3_generator

    def changed(given):
        generator = made(given)
        generator.state["_modules"]["synthesis"].state["_modules"]["L0"].state["padding"] = np.zeros(
            1_000_000, np.int64
        )
        return generator

    monkeypatch.setattr(files, "stylegan3_generator", changed)
    assert "malformed NumPy number" in refused(tmp_path / "x", ada_pickle(small(), monkeypatch))


def test_lod_is_one_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A longer one is not read, of which once a list was made."""
    one = contiguous(memoryview(bytes(4)), "float32", (1,)).read()
    monkeypatch.setattr(StoredArray, "read", lambda array: one[: 1 // array.count].reshape(array.shape))
    for values, refusal in ((1, nullcontext()), (100_000, pytest.raises(CheckpointError, match="no single number"))):
        with refusal:
            growth_of({"lod": contiguous(memoryview(bytes(4 * values)), "float32", (values,))})


def test_many_views_of_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a network reads is limited as a whole, before anything is read, not only each of its arrays."""
    one = torch.zeros(64, 64, 3, 3)
    state = {f"features.{n}.weight": one for n in (0, 2, 5)} | {f"features.{n}.bias": one for n in (0, 2, 5)}
    torch.save(state, tmp_path / "vgg")
    with monkeypatch.context() as patch:
        patch.setattr(variables, "MAX_VALUES", 6 * one.numel() - 1)
        with pytest.raises(CheckpointError, match="values; a network has at most"):
            read_vgg(tmp_path / "vgg")
        patch.setattr(variables, "MAX_VALUES", 300)
        (tmp_path / "gan").write_bytes(tensorflow_pickle(tensorflow_network(), monkeypatch))
        with pytest.raises(CheckpointError, match="values; a network has at most 300"):
            read_generator(tmp_path / "gan")
    assert read_generator(tmp_path / "gan").latent_shape == (4, 4)
