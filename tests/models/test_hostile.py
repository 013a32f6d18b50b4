"""Hostile and damaged files: nothing runs, nothing large is allocated, no other exception escapes."""

from __future__ import annotations

import json
import os
import pickle
import re
import resource
import struct
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch

from i2s_batch.errors import CheckpointError
from i2s_batch.models import GeneratorWeights, random_generator, read_generator, read_vgg, write_safetensors
from i2s_batch.models.checkpoints import restricted
from i2s_batch.models.checkpoints.restricted import Record
from i2s_batch.models.checkpoints.stored_arrays import narrowed

from .files import MANIFEST, SECURITY, ada_pickle, tensorflow_pickle
from .fuzz import tensorflow_network

MEGABYTE = 1 << 20
# Lines of ours that reading a file may run, however hostile it is: some for each instruction that is allowed.
MOST_LINES = 20 * restricted.MAX_INSTRUCTIONS


class Canary:
    """A value that, unpickled by Python itself, runs a command that leaves a file."""

    def __init__(self, function=os.system, argument="touch PWNED") -> None:
        self.call = function, (argument,)

    def __reduce__(self):
        return self.call


@contextmanager
def bounded_work() -> Iterator[None]:
    """Fails, in mid-work, what runs more than `MOST_LINES` lines: unlike seconds, the same on any machine."""
    lines = 0

    def count(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        assert lines <= MOST_LINES, f"more than {MOST_LINES} lines were run"
        return count

    sys.settrace(count)
    try:
        yield
    finally:
        sys.settrace(None)


def attempt(path, read=read_generator):
    """The weights, or the CheckpointError; any other exception fails the test."""
    try:
        return read(path)
    except CheckpointError as error:
        assert "\n" not in str(error)
        assert str(error).startswith(str(path))
        return error


@pytest.mark.parametrize("read", [read_generator, read_vgg])
@pytest.mark.parametrize("entry", MANIFEST, ids=lambda entry: entry["file"])
def test_security_files(tmp_path, monkeypatch, entry, read):
    monkeypatch.chdir(tmp_path)
    tracemalloc.start()
    with bounded_work():
        outcome = attempt(SECURITY / entry["file"], read)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert list(tmp_path.iterdir()) == []
    assert peak < 20 * MEGABYTE
    if not entry["expected"].startswith("load or reject") or read is read_vgg:
        assert isinstance(outcome, CheckpointError)
    else:
        assert isinstance(outcome, GeneratorWeights)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("sg1_reduce_os_system.pkl", "posix.system"),
        ("sg1_builtins_eval.pkl", "builtins.eval"),
        ("ada_nested_storage_pickle.pkl", "system"),
        ("ros2_reduce_os_system.pt", "system"),
    ],
)
def test_a_forbidden_global_is_named(file, name):
    with pytest.raises(CheckpointError, match=f"refers to .*{name}.*nothing was run"):
        read_generator(SECURITY / file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"static_kwargs": {"resolution": Canary()}}, "posix.system.*nothing was run"),
        ({"static_kwargs": {"resolution": Canary(eval, "open('PWNED', 'w')")}}, "builtins.eval.*nothing was run"),
        ({"variables": [("dlatent_avg", Canary())]}, "posix.system.*nothing was run"),
        ({"components": {"synthesis": Canary()}}, "posix.system.*nothing was run"),
        ({"components": {}}, "neither a StyleGAN1 nor a StyleGAN2"),
        ({"components": None}, "no generator"),
        ({"variables": [("dlatent_avg", np.array([{}], object))]}, "dlatent_avg"),
        (
            {"variables": [("dlatent_avg", np.full(4, np.nan, np.float32))]},
            "dlatent_avg has values that are not finite",
        ),
        ({"variables": [("dlatent_avg", np.zeros(5, np.float32))]}, "do not fit together"),
        ({"variables": []}, "dlatent_avg is missing"),
        ({"variables": 5}, "damaged"),
        ({"version": 5}, "version that is not supported"),
        ({"static_kwargs": {"architecture": "spiral"}}, "architecture"),
        ({"static_kwargs": {"resample_kernel": [1, 2, 1]}}, "resample_kernel"),
        ({"static_kwargs": {"mapping_lrmul": np.inf}}, "mapping_lr_multiplier"),
        ({"build_func_name": "G_other"}, "neither a StyleGAN1 nor a StyleGAN2"),
    ],
)
def test_hostile_stylegan2_of_tensorflow(tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pkl"
    gs = tensorflow_network()
    path.write_bytes(tensorflow_pickle(gs, monkeypatch))
    assert isinstance(attempt(path), GeneratorWeights)
    for part in (gs, *gs.state["components"].values()):
        part.state |= {key: value for key, value in change.items() if part is gs or key == "static_kwargs"}
    path.write_bytes(tensorflow_pickle(gs, monkeypatch))
    outcome = attempt(path)
    assert isinstance(outcome, CheckpointError)
    assert re.search(message, str(outcome)), outcome
    assert [file.name for file in tmp_path.iterdir()] == ["x.pkl"]


def test_a_claimed_array_of_tensorflow_costs_nothing(tmp_path, monkeypatch):
    path = tmp_path / "x.pkl"
    gs = tensorflow_network(variables=[("lod", np.float32(0)), ("dlatent_avg", np.zeros(12345, np.float32))])
    data = tensorflow_pickle(gs, monkeypatch)
    number = b"M" + struct.pack("<H", 12345)
    assert data.count(number) == 1
    path.write_bytes(data.replace(number, b"J\xff\xff\xff\x7f"))
    outcome = attempt(path)
    assert isinstance(outcome, CheckpointError)
    assert "dlatent_avg: an array claims" in str(outcome)


@pytest.fixture(scope="module")
def alias_free() -> GeneratorWeights:
    return random_generator("stylegan3", 16, width=4, channel_base=16)


def hostile_stylegan3(weights: GeneratorWeights, monkeypatch, change) -> bytes:
    """An official pickle of `weights` after `change` was made to its generator's synthesis."""
    from . import files

    made = files.stylegan3_generator

    def changed(given):
        generator = made(given)
        change(generator.state["_modules"]["synthesis"].state)
        return generator

    monkeypatch.setattr(files, "stylegan3_generator", changed)
    return ada_pickle(weights, monkeypatch)


def _of(state, name):
    return state["_modules"][name].state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(output_scale=Canary()), "posix.system.*nothing was run"),
        (lambda s: s.update(layer_names=Canary(eval, "open('PWNED', 'w')")), "builtins.eval.*nothing was run"),
        (lambda s: _of(s, "L0")["_buffers"].update(up_filter=Canary()), "posix.system.*nothing was run"),
        (lambda s: s.update(layer_names=[]), "layer names"),
        (lambda s: s.update(layer_names=["L0"] * 1000), "layer names"),
        (lambda s: s.update(layer_names=["L0", 5]), "layer names"),
        (lambda s: s.update(layer_names=["L0", ".*"]), "module synthesis\\.\\.\\* is missing"),
        (lambda s: s.update(layer_names=["L0", "L1", "L14"]), "pixels, not the resolution|'synthesis\\.L"),
        (lambda s: s.update(output_scale=np.float64("nan")), "output_scale"),
        (lambda s: s.update(img_resolution=np.zeros((3, 3))), "resolution"),
        (lambda s: _of(s, "input").update(size=np.array([36, 37])), "input_size"),
        (lambda s: _of(s, "input").update(size=np.zeros(2, object)), "input_size"),
        (lambda s: _of(s, "input").update(size=np.zeros(2, complex)), "malformed NumPy number"),
        (lambda s: _of(s, "input").update(bandwidth=np.float64("inf")), "bandwidth"),
        (lambda s: _of(s, "L3").update(padding=[1 << 62] * 4), "layers"),
        (lambda s: _of(s, "L3").update(up_factor=1 << 62), "layers"),
        (lambda s: _of(s, "L3").update(down_taps=13), "pixels, not the resolution|down_filter"),
        (lambda s: _of(s, "L3").update(conv_clamp=1), "conv_clamp"),
        (lambda s: _of(s, "L3").update(is_torgb=True), "is_torgb"),
        (lambda s: _of(s, "L3")["_parameters"].pop("bias"), "L3\\.bias \\[3\\] is missing"),
        (lambda s: _of(s, "L3")["_parameters"].update(more=torch.zeros(1)), "'synthesis\\.L3\\.more'"),
        (lambda s: s["_modules"].pop("L3"), "synthesis\\.L3 is missing"),
        (lambda s: s["_modules"].pop("input"), "synthesis\\.input is missing"),
    ],
)
def test_hostile_stylegan3(tmp_path, monkeypatch, alias_free, change, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pkl"
    path.write_bytes(ada_pickle(alias_free, monkeypatch))
    assert isinstance(attempt(path), GeneratorWeights)
    path.write_bytes(hostile_stylegan3(alias_free, monkeypatch, change))
    outcome = attempt(path)
    assert isinstance(outcome, CheckpointError)
    assert re.search(message, str(outcome)), outcome
    assert [file.name for file in tmp_path.iterdir()] == ["x.pkl"]


def test_code_inside_a_storage_of_stylegan3_never_runs(tmp_path, monkeypatch, alias_free):
    """torch.storage._load_from_bytes is a second pickle: one that runs a command in place of the real data."""
    monkeypatch.chdir(tmp_path)
    data = ada_pickle(alias_free, monkeypatch)
    start = data.index(b"\x80\x02\x8a\x0a")  # torch.save's magic number
    attack = pickle.dumps(Canary(), protocol=2)
    path = tmp_path / "x.pkl"
    path.write_bytes(data[:start] + attack + data[start + len(attack) :])
    outcome = attempt(path)
    assert isinstance(outcome, CheckpointError)
    assert re.search("refers to posix.system.*nothing was run", str(outcome))
    assert [file.name for file in tmp_path.iterdir()] == ["x.pkl"]


def test_the_sources_in_a_file_are_never_run(tmp_path, monkeypatch, alias_free):
    monkeypatch.chdir(tmp_path)
    data = ada_pickle(alias_free, monkeypatch)
    path = tmp_path / "x.pkl"
    path.write_bytes(data.replace(b"# no source", b"raise BOOM\n"))
    assert isinstance(attempt(path), GeneratorWeights)


def pickled(body: bytes) -> bytes:
    return b"\x80\x04" + body


HOSTILE = {
    "memo index": pickled(b"Nr\xff\xff\xff\xff."),
    "memo get": pickled(b"j\xff\xff\xff\xff."),
    "text of 2^63 bytes": pickled(b"\x8d" + struct.pack("<Q", 1 << 63) + b"abc."),
    "bytes of 2^63 bytes": pickled(b"\x8e" + struct.pack("<Q", 1 << 63) + b"abc."),
    "bytearray": pickled(b"\x96" + struct.pack("<Q", 1 << 40) + b"abc."),
    "frame": pickled(b"\x95" + struct.pack("<Q", 1 << 62) + b"N."),
    "long of 2^31 bytes": pickled(b"\x8b\xff\xff\xff\x7f."),
    "nesting": pickled(b"]" * 100_000 + b"a" * 99_999 + b"."),
    "tuples": pickled(b")" + b"\x85" * 300_000 + b"."),
    "tuple as a key": pickled(b"}" + b")" + b"\x85" * 100_000 + b"Ns."),
    "many lists": pickled(b"]" * 3_000_000 + b"."),
    "marks": pickled(b"(" * 1_000_000 + b"."),
    "unknown instruction": pickled(b"\x00."),
    "decimal number": pickled(b"I" + b"9" * 100_000 + b"\n."),
    "empty stack": pickled(b"R."),
    "get from itself": pickled(b"]\x94h\x00a."),
    "extension registry": pickled(b"\x82\x01."),
    "instance by text": pickled(b"(iposix\nsystem\n."),
    "global": pickled(b"cposix\nsystem\nX\x04\x00\x00\x00echo\x85R."),
    "dotted global": pickled(b"\x8c\x05torch\x8c\x0aos.systemX\x93."),
    "name with newline": pickled(b"\x8c\x03a\nb\x8c\x03c\rd\x93."),
    "recursive call": pickled(b"cdnnlib.tflib.network\nNetwork\n\x94h\x00\x85R\x94h\x01b."),
    "laughs": pickled(b"]\x94" + b"(" + b"h\x00" * 100_000 + b"e."),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles(tmp_path, name):
    path = tmp_path / "x.pkl"
    path.write_bytes(HOSTILE[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with bounded_work():
        assert isinstance(attempt(path), CheckpointError)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # kilobytes


def safetensors_file(header: object, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(shape, begin=0, end=4, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "content",
    [
        safetensors_file({"a": entry([1 << 62])}, bytes(4)),
        safetensors_file({"a": entry([1], 0, 1 << 62)}, bytes(4)),
        safetensors_file({"a": entry([1], -4, 0)}, bytes(4)),
        safetensors_file({"a": entry([-1])}, bytes(4)),
        safetensors_file({"a": entry([True])}, bytes(4)),
        safetensors_file({"a": entry([1.0])}, bytes(4)),
        safetensors_file({"a": entry([1], dtype="Q9")}, bytes(4)),
        safetensors_file({"a": entry([1]), "b": entry([1])}, bytes(4)),
        safetensors_file({"a": entry([1])}, bytes(8)),
        safetensors_file({"a": 5}, bytes(4)),
        safetensors_file({"__metadata__": 5}),
        safetensors_file({"__metadata__": {"format_version": "1", "family": "x", "settings": "[]"}}),
        safetensors_file({"__metadata__": {"format_version": "1", "family": "stylegan1", "settings": "{}"}}),
        safetensors_file({"__metadata__": {"format_version": "1", "family": "stylegan1", "settings": "{"}}),
        struct.pack("<Q", 4) + b"{\xff\xff}",
    ],
)
def test_hostile_safetensors(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert isinstance(attempt(path), CheckpointError)
    assert isinstance(attempt(path, read_vgg), CheckpointError)


def test_a_changed_value_is_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(random_generator("stylegan1", 8, width=4), path)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="fingerprint"):
        read_generator(path)


@pytest.mark.parametrize(
    "description",
    [
        (0, (1 << 40,), (0,)),  # one element repeated: a terabyte when written out
        (0, (4, 4), (5, 1)),
        (1, (16,), (1,)),
        (-1, (4,), (1,)),
        (0, (4,), (-1,)),
        (0, (-4,), (1,)),
        (0, (4, 4), (4,)),
        (0, (1,) * 40, (1,) * 40),
        (0, (1 << 62, 1 << 62, 0), (1, 1, 1)),
        (0, (0,), (1,)),
        (True, (4,), (1,)),
    ],
)
def test_a_tensor_must_lie_within_its_storage(description):
    from i2s_batch.models.checkpoints.torch_tensors import Storage, torch_array

    storage = Storage("0", "float32", 4, 16, memoryview(bytes(64)))
    record = Record("torch._utils._rebuild_tensor_v2", (storage, *description, False, {}))
    with pytest.raises(CheckpointError, match="an array"):
        torch_array(record)


@pytest.mark.parametrize(
    ("dtype", "message"),
    [(object, "no byte string"), (">f4", "little-endian"), ("f4,f4", "NumPy type"), ("i4", "NumPy type")],
)
def test_numpy_arrays_must_be_plain_floats(tmp_path, dtype, message):
    from i2s_batch.models.checkpoints.restricted import Rules, Unpickler
    from i2s_batch.models.checkpoints.stored_arrays import numpy_array

    names = frozenset({"numpy.core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype"})
    value = pickle.dumps(np.zeros(3, dtype), protocol=4)
    record, _ = Unpickler(memoryview(value), Rules("test", names)).load()
    with pytest.raises(CheckpointError, match=message):
        numpy_array(record)
    good, _ = Unpickler(memoryview(pickle.dumps(np.arange(3.0), protocol=4)), Rules("test", names)).load()
    assert numpy_array(good).read().tolist() == [0, 1, 2]


def test_the_machine_agrees_with_pickle():
    value = {"a": [1, -2, 70_000, -70_000, 1.5, None, True, False], "b": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))}
    value |= {"text": "é" * 300, 5: 1 << 70, "nested": {"x": {}}, "again": value["a"]}
    for protocol in (2, 3, 4, 5):
        data = pickle.dumps(value, protocol)
        rules = restricted.Rules("test", frozenset())
        loaded, end = restricted.Unpickler(memoryview(data + b"rest"), rules).load()
        assert loaded == value
        assert end == len(data)
        assert loaded["again"] is loaded["a"]


@pytest.mark.parametrize("value", [None, True, 3, 0.5, "skip", [1, 3, 3, 1], [None, "a"]])
def test_a_plain_attribute_is_narrowed_to_itself(value: object) -> None:
    assert narrowed(value) == value and type(narrowed(value)) is type(value)


def test_no_other_attribute_is_a_value_of_a_setting() -> None:
    nested: list[object] = []
    nested.append(nested)
    others = [(1, 2), {"a": 1}, nested, [0] * 1000, memoryview(b"a"), Record("os.system", ("x",))]
    kinds = ["(tuple)", "(dict)", "(list)", "(list)", "(memoryview)", "(os.system)"]
    assert [narrowed(value) for value in others] == kinds
