"""Files: every supported layout, faults that are named, round trips through our own format."""

from __future__ import annotations

import argparse
import io
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from i2s_batch.errors import CheckpointError, ConfigError, StorageError
from i2s_batch.models import GeneratorWeights, build_generator, random_generator, read_generator, write_safetensors
from i2s_batch.models.network_layout import check_weights
from i2s_batch.models.network_settings import StyleGAN2Settings, settings_of

from .files import DATA, ada_pickle, rosinality_state

SOURCES = ["sg1_r64.pkl", "sg1_r128.pkl", "sg2ada_r64.pkl", "ros2_r64.pt", "sg2tf_r64.pkl", "sg3t_r64.pkl"]


def saved(path, value, zipped=True):
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("name", SOURCES)
def test_conversion_keeps_every_bit(tmp_path, name):
    weights = read_generator(DATA / name)
    path = tmp_path / "own.safetensors"
    write_safetensors(weights, path)
    read = read_generator(path)
    assert (read.family, read.settings, read.origin) == (weights.family, weights.settings, weights.origin)
    assert read.fingerprint == weights.fingerprint
    from safetensors import safe_open
    from safetensors.numpy import load_file

    theirs = load_file(path)
    assert set(theirs) == set(weights.tensors) == set(read.tensors)
    for key, value in weights.tensors.items():
        assert value.dtype == np.float32
        assert value.tobytes() == theirs[key].tobytes() == read.tensors[key].tobytes()
        assert value.shape == theirs[key].shape == read.tensors[key].shape
    with safe_open(path, "np") as file:
        assert file.metadata()["fingerprint"] == weights.fingerprint


def test_float16_file(tmp_path):
    weights = random_generator("stylegan2", 16, width=8)
    write_safetensors(weights, tmp_path / "half.safetensors", dtype="float16")
    write_safetensors(weights, tmp_path / "single.safetensors")
    read = read_generator(tmp_path / "half.safetensors")
    for name, value in weights.tensors.items():
        assert np.array_equal(read.tensors[name], value.astype(np.float16).astype(np.float32))
    sizes = [(tmp_path / f"{kind}.safetensors").stat().st_size for kind in ("half", "single")]
    assert sizes[0] < 0.7 * sizes[1]
    write_safetensors(read, tmp_path / "again.safetensors")
    assert read_generator(tmp_path / "again.safetensors").fingerprint == read.fingerprint
    build_generator(read)


def test_writing_faults(tmp_path):
    weights = random_generator("stylegan1", 8, width=4)
    with pytest.raises(ConfigError, match="dtype"):
        write_safetensors(weights, tmp_path / "x", dtype="int8")
    large = replace(weights, tensors=weights.tensors | {"w_avg": np.full(4, 1e6, np.float32)})
    with pytest.raises(ConfigError, match="w_avg has values beyond the range of float16"):
        write_safetensors(large, tmp_path / "x", dtype="float16")
    with pytest.raises(StorageError, match=r"there is no folder .*missing'; create it first"):
        write_safetensors(weights, tmp_path / "missing" / "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="is a folder; name a file"):
        write_safetensors(weights, tmp_path / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_fingerprint_tells_values_settings_and_names_apart():
    weights = random_generator("stylegan1", 8, width=4)
    prints = {weights.fingerprint}
    for change in (
        {"tensors": weights.tensors | {"w_avg": weights.tensors["w_avg"] + 1}},
        {"settings": replace(weights.settings, mapping_lr_multiplier=0.02)},
        {"settings": StyleGAN2Settings(8, 0, 8, 0.01, "skip", None, "raw")},
    ):
        prints.add(replace(weights, **change).fingerprint)
    assert len(prints) == 4
    assert replace(weights, origin="elsewhere").fingerprint == weights.fingerprint


@pytest.mark.parametrize("zipped", [True, False])
def test_rosinality_layouts(tmp_path, zipped):
    weights = read_generator(DATA / "ros2_r64.pt")
    state = rosinality_state()
    assert read_generator(saved(tmp_path / "c.pt", state, zipped)).fingerprint == weights.fingerprint
    training = {
        "g": {name: value + 1 for name, value in state["g_ema"].items()},
        "d": {"convs.0.0.weight": torch.zeros(4, 3, 1, 1)},
        "g_ema": state["g_ema"],
        **_optimizers(),
        "args": argparse.Namespace(size=64, path="/data", lr=0.002, wandb=False, ckpt=None),
        "ada_aug_p": 0.25,
    }
    read = read_generator(saved(tmp_path / "t.pt", training, zipped))
    assert "mean of w computed" in read.origin
    for name, value in weights.tensors.items():
        if name != "w_avg":
            assert np.array_equal(value, read.tensors[name])
    g = build_generator(weights, dtype=torch.float64)
    with torch.no_grad():
        mean = g.map(torch.from_numpy(np.random.RandomState(1).standard_normal((4096, 64))))[:, 0]
    # Two means of 4,096 samples each.
    spread = mean.std(0).numpy() * np.sqrt(2 / 4096)
    assert np.abs(read.tensors["w_avg"] - mean.mean(0).numpy()).max() <= 5 * spread.max()


def _optimizers():
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([parameter], lr=0.002, betas=(0.0, 0.99))
    parameter.sum().backward()
    optimizer.step()
    return {"g_optim": optimizer.state_dict(), "d_optim": optimizer.state_dict()}


def test_rosinality_without_noise_is_zero_noise(tmp_path):
    state = rosinality_state()
    state["g_ema"] = {n: t for n, t in state["g_ema"].items() if not n.startswith("noises.")}
    read = read_generator(saved(tmp_path / "old.pt", state))
    assert "zero noise" in read.origin
    assert not read.tensors["layer.3.noise"].any()
    assert read.tensors["layer.3.noise_strength"].any()


def test_other_element_types_and_views(tmp_path):
    state = rosinality_state()
    weights = read_generator(DATA / "ros2_r64.pt")
    for kind in (torch.float64, torch.bfloat16, torch.float16):
        converted = {n: t.to(kind) for n, t in state["g_ema"].items()}
        read = read_generator(saved(tmp_path / "x.pt", {"g_ema": converted, "latent_avg": state["latent_avg"]}))
        expected = converted["convs.2.conv.weight"].float().numpy()[0]
        assert np.array_equal(read.tensors["layer.4.weight"], expected)
    turned = dict(state["g_ema"])
    turned["style.1.weight"] = turned["style.1.weight"].T.contiguous().T
    turned["style.1.bias"] = torch.cat([torch.zeros(5), turned["style.1.bias"]])[5:]
    read = read_generator(saved(tmp_path / "v.pt", {"g_ema": turned, "latent_avg": state["latent_avg"]}))
    assert read.fingerprint == weights.fingerprint


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("convs.3.conv.weight", None, r"convs\.3\.conv\.weight"),
        ("convs.3.activate.bias", None, r"convs\.3\.activate\.bias \[32\] is missing"),
        ("convs.3.activate.bias", torch.zeros(5), r"convs\.3\.activate\.bias has the shape \[5\]; \[32\] is needed"),
        ("noises.noise_4", torch.zeros(1, 1, 4, 4), r"noises\.noise_4 has the shape .* \[1, 1, 16, 16\] is needed"),
        ("noises.noise_4", None, r"noises\.noise_4 .* is missing"),
        ("to_rgbs.1.bias", torch.zeros(1, 1, 1, 1), r"to_rgbs\.1\.bias has the shape"),
        ("style.2.bias", torch.full((64,), float("nan")), r"style\.2\.bias has values that are not finite"),
        ("style.2.bias", torch.zeros(64, dtype=torch.int64), r"style\.2\.bias.*int64"),
        ("surprise.weight", torch.zeros(3), r"surprise\.weight"),
        ("to_rgbs.1.upsample.kernel", torch.ones(4, 4), r"to_rgbs\.1\.upsample\.kernel is not \[1, 3, 3, 1\]"),
        ("style.2.bias", "text", r"style\.2\.bias of its state dict is no tensor"),
    ],
)
def test_a_faulty_variable_is_named(tmp_path, name, value, message):
    state = rosinality_state()
    state["g_ema"] = {n: t for n, t in state["g_ema"].items() if n != name}
    if value is not None:
        state["g_ema"][name] = value
    with pytest.raises(CheckpointError, match=message) as caught:
        read_generator(saved(tmp_path / "x.pt", state))
    assert str(caught.value).startswith(str(tmp_path / "x.pt"))


def test_a_faulty_variable_of_an_official_pickle_is_named(tmp_path, monkeypatch):
    weights = random_generator("stylegan2", 16, width=8)
    for name, shape, shown in (
        ("layer.3.weight", (8, 7, 3, 3), r"synthesis\.b8\.conv1\.weight has the shape \[8, 7, 3, 3\]"),
        ("to_rgb.16.weight", (1, 8), r"synthesis\.b16\.torgb\.weight has the shape \[1, 8, 1, 1\]"),
    ):
        broken = replace(weights, tensors=weights.tensors | {name: np.zeros(shape, np.float32)})
        (tmp_path / "x.pkl").write_bytes(ada_pickle(broken, monkeypatch))
        with pytest.raises(CheckpointError, match=shown):
            read_generator(tmp_path / "x.pkl")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"d": {"final_conv.conv.weight": torch.zeros(3)}}, "discriminator only"),
        ({"final_linear.0.weight": torch.zeros(3)}, "discriminator only"),
        ({"g_running": {}}, "variables are missing"),
        ({"layer1.weight": torch.zeros(3)}, r"no StyleGAN generator .* another network \(.* layer1\.weight\)"),
        ([1, 2], "no state dict"),
        (torch.zeros(3), "no state dict"),
        ({"g_ema": {}}, "variables are missing"),
    ],
)
def test_other_torch_files(tmp_path, value, message):
    for zipped in (True, False):
        with pytest.raises(CheckpointError, match=message):
            read_generator(saved(tmp_path / "x.pt", value, zipped))


def _zip_of(name, data):
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><head><title>Quota exceeded", "HTML page, probably a download quota"),
        (b"\xef\xbb\xbf\n <HTML>", "HTML page"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "PNG image"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "JPEG image"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git-lfs pointer"),
        (b"hello, world\n", "this is text"),
        (b"\x00\x01\x02\x03", "no file of a known type"),
        (b"\x80", "no file of a known type"),
        (b"\x80\x04.", "damaged"),
        (b"\x1f\x8b" + bytes(20), "gzip"),
        (_zip_of("readme.txt", b"hello"), "compressed"),
        (_zip_of("x/data.pkl", bytes(10**7)), "compressed"),
        (b"PK\x05\x06" + bytes(18), "not one of torch.save"),
        (b"PK\x03\x04" + bytes(18), "truncated"),
        (struct.pack("<Q", 2) + b"{}", "not written by i2s-batch"),
        (struct.pack("<Q", 1 << 40) + b"{}", "no file of a known type"),
        (struct.pack("<Q", 60_000) + b'{"a":' + b"[" * 59_995, "damaged|malformed"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, content, message):
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_generator(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_places_that_are_no_files(tmp_path):
    with pytest.raises(CheckpointError, match="folder"):
        read_generator(tmp_path)
    with pytest.raises(CheckpointError, match="No such file"):
        read_generator(tmp_path / "missing.pkl")
    with pytest.raises(CheckpointError, match="regular file"):
        read_generator("/dev/zero")


def test_an_unreadable_file(tmp_path, monkeypatch):
    path = tmp_path / "secret.pkl"
    path.write_bytes(b"x")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(CheckpointError, match="Permission denied"):
        read_generator(path)


def test_layout_rejects_what_it_does_not_know():
    weights = random_generator("stylegan1", 8, width=4)
    for change, message in (
        ({"tensors": weights.tensors | {"extra": np.zeros(1, np.float32)}}, "'extra' is unknown"),
        ({"tensors": weights.tensors | {"w_avg": np.zeros(4)}}, "float64; float32"),
        ({"settings": replace(weights.settings, resolution=12)}, "resolution"),
        ({"tensors": weights.tensors | {"w_avg": np.zeros(5, np.float32)}}, "do not fit"),
    ):
        with pytest.raises(CheckpointError, match=message):
            check_weights(replace(weights, **change))


def test_stored_settings_are_whole_known_and_of_a_known_family():
    stored = random_generator("stylegan1", 8, width=4).settings.to_json()
    assert settings_of("stylegan1", stored).to_json() == stored
    for family, change, message in (
        ("stylegan1", {"resolution": 12}, "the setting resolution is missing or out of range for a stylegan1"),
        ("stylegan1", {"resolution": True}, "resolution"),
        ("stylegan1", {"more": 1}, "the setting 'more' is unknown for a stylegan1 generator"),
        ("stylegan2", {}, "architecture"),
        ("stylegan9", {}, "the family 'stylegan9' is unknown; known: stylegan1, stylegan2, stylegan3"),
    ):
        with pytest.raises(CheckpointError, match=message):
            settings_of(family, stored | change)


def test_sizes_are_those_of_the_file():
    weights: GeneratorWeights = read_generator(DATA / "sg1_r128.pkl")
    assert weights.latent_shape == (12, 32)
    assert weights.latent_size == 384
    assert weights.origin == "official StyleGAN1 pickle"
