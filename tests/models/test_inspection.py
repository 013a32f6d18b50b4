"""A look at every format, hostile ones included; no network is built for it."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
import torch

from i2s_batch.errors import CheckpointError
from i2s_batch.models import Generator, random_generator, random_vgg, read_generator, write_safetensors
from i2s_batch.models.checkpoints import facts, inspect_checkpoint

from .files import DATA, MANIFEST, SECURITY, ada_pickle, rosinality_state

FORMATS = [
    ("sg1_r64.pkl", "official StyleGAN1 pickle", "Gs in (G, D, Gs)", "stylegan1", 10, "G (G), D (D)"),
    ("sg2tf_r64.pkl", "official StyleGAN2 pickle (TensorFlow)", "Gs in (G, D, Gs)", "stylegan2", 10, "G (G), D (D)"),
    ("sg2ada_r64.pkl", "official StyleGAN2-ADA pickle", "G_ema", "stylegan2", 10, "augment_pipe (AugmentPipe)"),
    ("sg3t_r64.pkl", "official StyleGAN3 pickle", "G_ema", "stylegan3", 16, "D (Discriminator)"),
    ("ros2_r64.pt", "rosinality StyleGAN2 file (g_ema)", "g_ema", "stylegan2", 10, "nothing"),
]


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch):
    def refuse(*args):
        raise AssertionError("a network was built")

    monkeypatch.setattr(Generator, "__init__", refuse)


@pytest.mark.parametrize(("file", "named", "wrapper", "family", "layers", "beside"), FORMATS)
def test_formats(tmp_path, file, named, wrapper, family, layers, beside):
    weights = read_generator(DATA / file)
    shown = dict(facts(inspect_checkpoint(DATA / file)))
    assert (shown["format"], shown["family"], shown["resolution"]) == (named, family, "64 x 64")
    assert shown["wrapper"] == wrapper
    assert (shown["classes"], shown["fingerprint"]) == ("none", weights.fingerprint)
    assert shown["layers"] == f"{layers}, so a W+ latent is [{layers}, 64]"
    assert shown["widths"].startswith("z 64, w 64, mapping 64 64")
    assert beside in shown["also holds"]
    write_safetensors(weights, tmp_path / "own.safetensors")
    own = dict(facts(inspect_checkpoint(tmp_path / "own.safetensors")))
    ours = {"format": f"i2s-batch safetensors, made from: {named}", "wrapper": "none", "also holds": "nothing"}
    assert own == shown | ours


def test_counted_and_conditional(tmp_path, monkeypatch):
    weights = random_generator("stylegan3", 16, width=4, channel_base=16, c_dim=3)
    path = tmp_path / "x.pkl"
    path.write_bytes(ada_pickle(weights, monkeypatch, training_set_kwargs={"path": "x"}, cur_nimg=25_000_000))
    shown = dict(facts(inspect_checkpoint(path)))
    names = ("weight", "bias")
    trained = sum(t.size for name, t in weights.tensors.items() if name.rpartition(".")[2] in names)
    fixed = sum(t.size for t in weights.tensors.values()) - trained
    assert shown["parameters"] == f"{trained:,}, and {fixed:,} constants"
    assert shown["classes"] == "3"
    assert shown["also holds"] == "training_set_kwargs (1 entries), cur_nimg (25000000)"


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files(tmp_path, zipped):
    state = rosinality_state()["g_ema"]
    training = {"g": state, "g_ema": state, "d": {"a": torch.zeros(2)}, "ada_aug_p": 0.25}
    training |= {"args": argparse.Namespace(size=64), "bad\x1b[2J\nname": torch.zeros(1)}
    torch.save(training, tmp_path / "t.pt", _use_new_zipfile_serialization=zipped)
    shown = dict(facts(inspect_checkpoint(tmp_path / "t.pt")))
    assert shown["also holds"] == (
        f"g ({len(state)} entries), d (1 entries), ada_aug_p (0.25), args (Namespace), bad?[2J?name (tensor)"
    )
    torch.save(state, tmp_path / "bare.pt", _use_new_zipfile_serialization=zipped)
    assert dict(facts(inspect_checkpoint(tmp_path / "bare.pt")))["also holds"] == "nothing"


def test_vgg(tmp_path):
    vgg = random_vgg()
    state = {name: torch.from_numpy(np.array(value)) for name, value in vgg.tensors.items()}
    torch.save(state | {"classifier.0.weight": torch.zeros(2, 2)}, tmp_path / "vgg.pth")
    shown = dict(facts(inspect_checkpoint(tmp_path / "vgg.pth")))
    assert (shown["family"], shown["fingerprint"]) == ("vgg16", vgg.fingerprint)
    assert shown["also holds"] == "classifier.0.weight (tensor)"
    write_safetensors(vgg, tmp_path / "own.safetensors")
    assert dict(facts(inspect_checkpoint(tmp_path / "own.safetensors")))["fingerprint"] == vgg.fingerprint


@pytest.mark.parametrize("entry", MANIFEST, ids=lambda entry: entry["file"])
def test_security_files(tmp_path, monkeypatch, entry):
    monkeypatch.chdir(tmp_path)
    path = SECURITY / entry["file"]
    if entry["expected"].startswith("load or reject"):
        inspect_checkpoint(path)
    else:
        with pytest.raises(CheckpointError) as caught:
            inspect_checkpoint(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
